//! What a message would say with some variables; nothing is sent.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::mistake::Mistake;

use super::Message;
use crate::mail::MessageTemplate;

impl Message {
    /// `{subject, text, html, sms, push, callback}`, null for each part that the message has not; or every part that cannot
    /// be rendered.
    pub fn preview(&self, variables: &Map<String, Value>, now: Timestamp) -> Result<Value, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut text = |place: &str, source: Option<&str>| {
            let template = MessageTemplate::compile(source?, place == "/html");
            noted(template.and_then(|template| template.render(variables, now)), place, &mut mistakes)
                .map(Value::String)
        };
        let mut preview = json!({
            "subject": text("/subject", Some(self.subject.as_str()).filter(|subject| !subject.is_empty())),
            "text": text("/text", self.text.as_deref()),
            "html": text("/html", self.html.as_deref()),
            "sms": null, "push": null, "callback": null,
        });
        if let Some(sms) = &self.sms {
            preview["sms"] = json!({ "body": text("/sms/body", Some(&sms.body)) });
        }
        if let Some(push) = &self.push {
            let (title, body) = (text("/push/title", push.title.as_deref()), text("/push/body", push.body.as_deref()));
            let data = MessageTemplate::render_json(&push.data.clone().into(), variables, now);
            let data = noted(data, "/push/data", &mut mistakes);
            preview["push"] = json!({ "title": title, "body": body, "data": data });
        }
        if let Some(callback) = &self.callback {
            let body = MessageTemplate::render_json(&callback.body, variables, now);
            preview["callback"] = json!({ "body": noted(body, "/callback/body", &mut mistakes) });
        }
        if mistakes.is_empty() { Ok(preview) } else { Err(mistakes) }
    }
}

fn noted<T>(rendered: Result<T, String>, place: &str, mistakes: &mut Vec<Mistake>) -> Option<T> {
    rendered.map_err(|detail| mistakes.push(Mistake::new(place, detail))).ok()
}
