//! The examples in the documentation: whatever it shows is taken.

use serde_json::{Value, json};
use triggerd::actions::Registry;
use triggerd_core::compile::compile;
use triggerd_core::id::EventId;
use triggerd_core::intake_body::{self, Acceptance};
use triggerd_core::trace::TraceContext;

use crate::harness::Bench;
use crate::harness::certificates::Certificate;

/// A fenced block.
struct Fence {
    /// `FILE:LINE`.
    place: String,
    language: String,
    text: String,
}

/// What a block shows.
#[derive(Debug)]
enum Example {
    Resource {
        kind: String,
        tag: String,
        settings: Value,
    },
    /// Written out as a whole, or made of a part that is shown.
    Trigger {
        definition: Value,
        is_whole: bool,
    },
    Event(Value),
    /// An answer, or what arrives somewhere: no more than JSON.
    Shown,
}

fn fences(file: &str) -> Vec<Fence> {
    let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut found: Vec<Fence> = Vec::new();
    let mut is_inside = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_inside = !is_inside;
            if is_inside {
                let place = format!("{file}:{}", number + 1);
                found.push(Fence { place, language: language.to_owned(), text: String::new() });
            }
        } else if is_inside {
            let fence = found.last_mut().unwrap();
            fence.text += line;
            fence.text.push('\n');
        }
    }
    assert!(!is_inside, "{file}: a block has no end");
    found
}

fn examples(fence: &Fence) -> Vec<Example> {
    match fence.language.as_str() {
        "json" => vec![match fence.text.strip_prefix("PUT ") {
            Some(request) => {
                let (path, body) = request.split_once('\n').unwrap();
                requested(path, parse(body, &fence.place))
            }
            None => recognised(parse(&fence.text, &fence.place)),
        }],
        "sh" => fence.text.split("curl ").skip(1).filter_map(|curl| sent(curl, &fence.place)).collect(),
        _ => Vec::new(),
    }
}

/// What a `curl` with a body sends.
fn sent(curl: &str, place: &str) -> Option<Example> {
    let (before, rest) = curl.split_once("-d '")?;
    let (body, _) = rest.split_once('\'').unwrap_or_else(|| panic!("{place}: the body has no end"));
    let url = before.split_whitespace().find(|word| word.contains('/') && !word.contains("json")).unwrap();
    let path = &url[url.find('/').unwrap()..].trim_end_matches(['\'', '"']);
    Some(requested(path.split('?').next().unwrap(), parse(body, place)))
}

fn requested(path: &str, mut body: Value) -> Example {
    let parts: Vec<&str> = path.trim_start_matches("/api/v1").trim_matches('/').split('/').collect();
    match parts[..] {
        ["events"] => Example::Event(body),
        ["triggers"] => Example::Trigger { definition: body, is_whole: true },
        ["triggers", tag] => {
            body["tag"] = tag.into();
            Example::Trigger { definition: body, is_whole: true }
        }
        [kind, tag] => Example::Resource { kind: kind.to_owned(), tag: tag.to_owned(), settings: body },
        _ => panic!("{path} is no path of a resource, of triggers or events"),
    }
}

/// A part of a definition stands in one that is whole otherwise.
fn recognised(shown: Value) -> Example {
    let has = |fields: &[&str]| fields.iter().all(|field| shown.get(field).is_some());
    let with = |part: &str, value: Value| {
        let mut whole =
            json!({"tag": "t", "events": ["e"], "actions": [{"type": "log.info", "config": {"message": "m"}}]});
        whole[part] = value;
        Example::Trigger { definition: whole, is_whole: false }
    };
    let resource =
        |kind: &str, settings| Example::Resource { kind: kind.to_owned(), tag: "shown".to_owned(), settings };
    if has(&["actions", "events"]) {
        Example::Trigger { definition: shown, is_whole: true }
    } else if has(&["type", "config"]) {
        with("actions", json!([shown]))
    } else if ["field", "and", "or", "not", "jsonpath", "component"].iter().any(|field| has(&[field])) {
        with("condition", shown)
    } else if has(&["url", "body"]) {
        with("actions", json!([{"type": "http.post", "config": shown}]))
    } else if has(&["kind", "url"]) {
        resource("caches", shown)
    } else if has(&["sms"]) {
        resource("notifications", shown)
    } else if has(&["event", "context"]) {
        Example::Event(shown)
    } else {
        Example::Shown
    }
}

/// JSON, with something in the place of what is left out.
fn parse(text: &str, place: &str) -> Value {
    let certificate = json!(Certificate::for_localhost().pem).to_string();
    let whole = text.replace(r#""-----BEGIN CERTIFICATE-----\n…""#, &certificate).replace("[…]", "[]");
    triggerd_core::json::parse_definition(whole.trim().as_bytes())
        .unwrap_or_else(|error| panic!("{place}: {error:?}\n{text}"))
}

/// What a file's examples are, all of which are taken.
#[derive(Default)]
struct Taken {
    resources: usize,
    triggers: usize,
    events: usize,
    /// The triggers that are written out, with their places.
    whole: Vec<(String, Value)>,
}

async fn taken(bench: &Bench, file: &str) -> Taken {
    let mut taken = Taken::default();
    for fence in fences(file) {
        for example in examples(&fence) {
            let place = &fence.place;
            match example {
                Example::Resource { kind, tag, settings } => {
                    taken.resources += 1;
                    let put = bench.services.resources.put(&bench.tenant(), &kind, &tag, settings).await;
                    assert!(put.is_ok(), "{place}: {put:?}");
                }
                Example::Trigger { definition, is_whole } => {
                    taken.triggers += 1;
                    let compiled = compile(&definition, 0, Registry::built_in());
                    assert!(compiled.is_ok(), "{place}: {:#?}", compiled.err());
                    if is_whole {
                        taken.whole.push((place.clone(), definition));
                    }
                }
                Example::Event(body) => {
                    taken.events += 1;
                    let read = match body["context"].clone() {
                        Value::Null => intake_body::from_json(body, acceptance(bench)),
                        context => {
                            intake_body::from_execute(context, body["event"].as_str().unwrap(), acceptance(bench))
                        }
                    };
                    assert!(read.is_ok(), "{place}: {:#?}", read.err());
                }
                Example::Shown => {}
            }
        }
    }
    taken
}

fn acceptance(bench: &Bench) -> Acceptance {
    let now = jiff::Timestamp::now();
    Acceptance { id: EventId::new(1, [1; 10]), tenant: bench.tenant(), now, trace: TraceContext::default() }
}

#[tokio::test]
async fn every_example_of_the_connectors_is_taken_as_it_is_written() {
    let bench = Bench::local().await;
    let Taken { resources, triggers, events, whole } = taken(&bench, "docs/connectors.md").await;
    // Whoever adds an example adds it here: one that is not recognised is not tried.
    assert_eq!((resources, triggers, events), (15, 14, 1));
    for (place, definition) in whole {
        for action in definition["actions"].as_array().unwrap() {
            for (kind, tag) in Registry::built_in().uses(action["type"].as_str().unwrap(), &action["config"]) {
                let always = matches!((kind, tag.as_str()), ("brokers", "embedded") | ("caches", "memory"));
                let shown = always || bench.services.resources.get(&bench.tenant(), kind, &tag).is_some();
                assert!(shown, "{place}: {kind} `{tag}` is configured by no example");
            }
        }
    }
}

#[tokio::test]
async fn every_example_of_the_language_is_taken_as_it_is_written() {
    for (file, wanted) in [("docs/triggers.md", (0, 12, 1)), ("docs/guests.md", (0, 2, 0)), ("README.md", (0, 2, 1))] {
        let Taken { resources, triggers, events, .. } = taken(&Bench::local().await, file).await;
        assert_eq!((resources, triggers, events), wanted, "{file}");
    }
}
