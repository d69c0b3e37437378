//! A condition's verdict where it may hang on Wasm components: they are asked one by one, and only while it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use triggerd_core::condition::Condition;
use triggerd_core::outcome::Failure;

use super::job::Job;
use crate::app::App;

/// How long the condition has to wait because the tenant's guests have used their CPU time.
pub(crate) fn wait(app: &App, job: &Job, condition: &Condition) -> Option<Duration> {
    if condition.components().is_empty() { None } else { app.components.cpu.wait(&job.event.tenant) }
}

/// Whether the condition holds for the job's event.
pub(crate) async fn of(app: &Arc<App>, job: &Job, condition: &Condition) -> Result<bool, Failure> {
    let mut answers: HashMap<usize, bool> = HashMap::new();
    let evaluate =
        |answers: &HashMap<usize, bool>| condition.evaluate(&job.event, &|index| answers.get(&index).copied());
    for (index, call) in condition.components().iter().enumerate() {
        if let Some(verdict) = evaluate(&answers) {
            return Ok(verdict);
        }
        let delivery = job.run.delivery(&format!("condition/{index}"));
        // Boxed: most conditions ask nobody, and every run's walk would have the room for it.
        let asked = Box::pin(app.components.matches(&app.services, &job.event, &job.trigger.tag, delivery, call));
        answers.insert(index, asked.await?);
    }
    evaluate(&answers)
        .ok_or_else(|| Failure::new("INTERNAL", "the condition has no verdict although every component answered"))
}
