//! How long events are kept, by tenant and by what became of them; and letting go of what is due.
//!
//! Unfinished events are kept whatever their age, dead letters until somebody has replayed or dropped them, unless their tenant says
//! for how long. A pass goes on where the one before stopped; what was passed over then, because it had not ended, is looked at
//! again once an hour.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use triggerd_core::id::TenantId;
use triggerd_core::mistake::{self, Mistake};

use crate::app::App;
use crate::config::{read_duration, show_duration};
use crate::store::{self, EventStatus, Position};

/// Under what a tenant's own times are remembered.
const KIND: &str = "retention";
/// How "as long as nobody drops them" is written.
const NEVER: &str = "never";
/// What can have times of its own.
const NAMES: [&str; 3] = ["delivered", "unmatched", "failed"];
/// Events let go in one transaction.
const SLICE: u32 = 500;
/// The longest pause between two transactions: each as long as the one before took, so that no more than half of the writer's time is
/// spent on what nobody waits for.
const PAUSE: Duration = Duration::from_millis(100);
/// How often everything is looked at from the beginning.
const AFRESH: Duration = Duration::from_secs(3600);

/// For how long a tenant's events are kept; `None` for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Those whose runs ended well.
    pub delivered: Option<Duration>,
    /// Those that no trigger matched.
    pub unmatched: Option<Duration>,
    /// Those with a dead letter.
    pub failed: Option<Duration>,
}

impl Retention {
    /// By the configuration, and what the tenant has of its own.
    #[must_use]
    pub fn of(configured: Option<Duration>, own: &Value) -> Self {
        let read = |name: &str, default: Option<Duration>| match own.get(name).and_then(Value::as_str) {
            Some(NEVER) => None,
            Some(text) => read_duration(text).ok().or(default),
            None => default,
        };
        Self {
            delivered: read("delivered", configured),
            unmatched: read("unmatched", configured),
            failed: read("failed", None),
        }
    }

    /// As the API shows it.
    #[must_use]
    pub fn show(&self) -> Value {
        let show = |kept: Option<Duration>| kept.map_or_else(|| NEVER.to_owned(), show_duration);
        json!({"delivered": show(self.delivered), "unmatched": show(self.unmatched), "failed": show(self.failed)})
    }

    /// Which statuses go at which age.
    fn groups(&self) -> Vec<(Vec<EventStatus>, Duration)> {
        let mut groups: Vec<(Vec<EventStatus>, Duration)> = Vec::new();
        let all = [
            (EventStatus::Delivered, self.delivered),
            (EventStatus::Unmatched, self.unmatched),
            (EventStatus::Failed, self.failed),
        ];
        for (status, kept) in all {
            let Some(kept) = kept else { continue };
            match groups.iter_mut().find(|(_, other)| *other == kept) {
                Some((statuses, _)) => statuses.push(status),
                None => groups.push((vec![status], kept)),
            }
        }
        groups
    }
}

/// Puts what somebody wrote into a tenant's own times: a duration for all that has ended well, or an object of durations by status;
/// `null` goes back to the configuration's. Mistakes have pointers from its root.
pub fn apply(own: &mut Map<String, Value>, written: &Value) -> Vec<Mistake> {
    let check = |pointer: String, text: &str| match text {
        NEVER => None,
        text => read_duration(text).err().map(|error| Mistake::new(pointer, format!("{error}, or `{NEVER}`"))),
    };
    match written {
        Value::Null => own.clear(),
        Value::String(text) => {
            if let Some(mistake) = check(String::new(), text) {
                return vec![mistake];
            }
            own.clear();
            own.insert("delivered".to_owned(), text.clone().into());
            own.insert("unmatched".to_owned(), text.clone().into());
        }
        Value::Object(members) => {
            let mut mistakes = Vec::new();
            for (name, value) in members {
                let pointer = mistake::join("", name);
                match value {
                    _ if !NAMES.contains(&name.as_str()) => {
                        mistakes.push(Mistake::unknown(pointer, "status", name, NAMES));
                    }
                    Value::Null => drop(own.remove(name)),
                    Value::String(text) => match check(pointer, text) {
                        Some(mistake) => mistakes.push(mistake),
                        None => drop(own.insert(name.clone(), value.clone())),
                    },
                    _ => mistakes.push(Mistake::new(pointer, "a duration such as `30d`, `never` or null is needed")),
                }
            }
            return mistakes;
        }
        _ => {
            let needed = "a duration such as `30d`, `never`, null, or an object of them by status is needed";
            return vec![Mistake::new("", needed)];
        }
    }
    Vec::new()
}

/// A tenant's own times.
pub async fn own(app: &App, tenant: &TenantId) -> Result<Map<String, Value>, store::Error> {
    let found = app.store.source_state(tenant, KIND, "").await?;
    Ok(match found {
        Some(Value::Object(own)) => own,
        _ => Map::new(),
    })
}

/// Keeps a tenant's own times.
pub async fn put(app: &App, tenant: &TenantId, own: Map<String, Value>) -> Result<(), store::Error> {
    app.store.put_source_state(tenant, KIND, "", &Value::Object(own), app.clock.now()).await
}

/// What passes remember of those before them.
pub struct Passes {
    /// Up to where was looked for a tenant's events of some statuses, and at which age they went.
    seen: HashMap<(TenantId, EventStatus), (Duration, Position)>,
    began: Instant,
}

impl Default for Passes {
    fn default() -> Self {
        Self { seen: HashMap::new(), began: Instant::now() }
    }
}

impl Passes {
    /// Lets go of what is due.
    pub async fn pass(&mut self, app: &App, stop: &CancellationToken) -> Result<(), store::Error> {
        if self.began.elapsed() > AFRESH {
            *self = Self::default();
        }
        let own: HashMap<TenantId, Value> =
            app.store.source_states(KIND).await?.into_iter().map(|(tenant, _, own)| (tenant, own)).collect();
        let configured = app.config.store.retention;
        let tenants: Vec<(TenantId, Retention)> = app
            .access
            .tenants()
            .iter()
            .map(|tenant| (tenant.id.clone(), Retention::of(configured, own.get(&tenant.id).unwrap_or(&Value::Null))))
            .collect();
        let now = app.clock.now();
        let whole = if app.store.is_shared() { longest(&tenants) } else { None };
        if let Some(longest) = whole {
            while !stop.is_cancelled() && app.store.drop_old(before(now, longest), SLICE).await? > 0 {
                tokio::task::yield_now().await;
            }
        }
        for (tenant, retention) in &tenants {
            for (statuses, kept) in retention.groups() {
                // What everybody's dead letters are kept beside goes as a whole.
                if whole != Some(kept) || statuses.contains(&EventStatus::Failed) {
                    self.retire(app, stop, tenant, &statuses, kept, now).await?;
                }
            }
        }
        Ok(())
    }

    async fn retire(
        &mut self,
        app: &App,
        stop: &CancellationToken,
        tenant: &TenantId,
        statuses: &[EventStatus],
        kept: Duration,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let key = (tenant.clone(), statuses[0]);
        let mut after = self.seen.get(&key).filter(|(before, _)| *before == kept).map(|(_, seen)| *seen);
        while !stop.is_cancelled() {
            let began = Instant::now();
            let retired = app.store.retire(tenant, statuses, before(now, kept), after, SLICE).await?;
            after = retired.seen.or(after);
            if let Some(seen) = after {
                self.seen.insert(key.clone(), (kept, seen));
            }
            if retired.is_all {
                break;
            }
            // Meanwhile the writer serves everybody else.
            tokio::time::sleep(began.elapsed().min(PAUSE)).await;
        }
        Ok(())
    }
}

fn before(now: Timestamp, kept: Duration) -> Timestamp {
    now.checked_sub(kept).unwrap_or(Timestamp::MIN)
}

/// The age at which everything of every tenant may go that has ended well; `None` where something is kept for ever.
fn longest(tenants: &[(TenantId, Retention)]) -> Option<Duration> {
    let each = tenants.iter().flat_map(|(_, retention)| [retention.delivered, retention.unmatched]);
    each.collect::<Option<Vec<Duration>>>()?.into_iter().max()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn applied(own: Value, written: Value) -> (Value, Vec<Mistake>) {
        let mut own = own.as_object().unwrap().clone();
        let mistakes = apply(&mut own, &written);
        (Value::Object(own), mistakes)
    }

    #[test]
    fn dead_letters_stay_unless_their_tenant_says_for_how_long() {
        let default = Retention::of(Some(90 * DAY), &Value::Null);
        assert_eq!(default.show(), json!({"delivered": "90d", "unmatched": "90d", "failed": "never"}));
        assert_eq!(default.groups(), [(vec![EventStatus::Delivered, EventStatus::Unmatched], 90 * DAY)]);
        let own = Retention::of(Some(90 * DAY), &json!({"unmatched": "7d", "failed": "90d", "delivered": "never"}));
        assert_eq!(own.groups(), [(vec![EventStatus::Unmatched], 7 * DAY), (vec![EventStatus::Failed], 90 * DAY)]);
        assert_eq!(longest(&[(TenantId::new("a"), default), (TenantId::new("b"), own)]), None);
        assert_eq!(longest(&[(TenantId::new("a"), default)]), Some(90 * DAY));
    }

    #[test]
    fn what_is_written_is_checked_and_merged() {
        assert_eq!(applied(json!({}), json!("30d")), (json!({"delivered": "30d", "unmatched": "30d"}), vec![]));
        let merged =
            applied(json!({"delivered": "30d", "failed": "1d"}), json!({"failed": null, "unmatched": "never"}));
        assert_eq!(merged, (json!({"delivered": "30d", "unmatched": "never"}), vec![]));
        assert_eq!(applied(json!({"failed": "1d"}), Value::Null).0, json!({}));
        for (wrong, pointer) in [
            (json!("soon"), ""),
            (json!(30), ""),
            (json!({"delivered": "0d"}), "/delivered"),
            (json!({"pending": "1d"}), "/pending"),
            (json!({"failed": 1}), "/failed"),
        ] {
            let (own, mistakes) = applied(json!({}), wrong.clone());
            assert_eq!((own, mistakes.len(), mistakes[0].pointer.as_str()), (json!({}), 1, pointer), "{wrong}");
        }
    }
}
