//! Scores a lead by what it did and how often it came back.
//!
//! Each touch (a page view, a download, a demo request) adds its weight to the lead's score, which
//! is kept in durable state. Two touches at the same moment are both counted, by
//! compare-and-set, and a retried delivery is counted once, by its delivery id.

use serde::{Deserialize, Serialize};
use triggerd_sdk::{ActionError, Context};

/// From this score on a lead is warm, and from that one hot.
const WARM: u32 = 30;
const HOT: u32 = 80;

/// How many delivery ids are remembered per lead: more than a lead has unfinished deliveries.
const REMEMBERED: usize = 16;

/// The action's `input`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Whose touch it is.
    lead: String,
    /// What the lead did: a key of `weights`.
    touch: String,
    /// The size of the deal, where it is known.
    #[serde(default)]
    total: Option<f64>,
    /// What each kind of touch is worth; any other is worth 1.
    #[serde(default)]
    weights: std::collections::BTreeMap<String, u32>,
}

/// What is kept per lead.
#[derive(Default, Serialize, Deserialize)]
struct History {
    touches: u32,
    points: u32,
    /// The last deliveries that were counted, newest last.
    counted: Vec<String>,
}

/// The action's output.
#[derive(Serialize, PartialEq, Debug)]
struct Score {
    lead: String,
    touches: u32,
    score: u32,
    grade: Grade,
}

#[derive(Serialize, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Cold,
    Warm,
    Hot,
}

#[triggerd_sdk::action]
fn run(cx: Context<Input>) -> Result<Score, ActionError> {
    let input = &cx.input;
    if input.lead.is_empty() {
        return Err(ActionError::permanent("LEAD_MISSING", "the input names no lead; is `lead` templated right?"));
    }
    let weight = input.weights.get(&input.touch).copied().unwrap_or(1);
    let history = cx.state().update(&format!("lead:{}", input.lead), None, |history: Option<History>| {
        history.unwrap_or_default().with_touch(&cx.delivery_id, weight)
    })?;
    let score = history.points.saturating_add(deal_points(input.total));
    let grade = match score {
        HOT.. => Grade::Hot,
        WARM.. => Grade::Warm,
        _ => Grade::Cold,
    };
    cx.log().field("lead", &input.lead).field("score", score).info("Scored");
    Ok(Score { lead: input.lead.clone(), touches: history.touches, score, grade })
}

impl History {
    fn with_touch(mut self, delivery: &str, weight: u32) -> Self {
        if self.counted.iter().any(|counted| counted == delivery) {
            return self;
        }
        self.touches = self.touches.saturating_add(1);
        self.points = self.points.saturating_add(weight);
        if self.counted.len() == REMEMBERED {
            self.counted.remove(0);
        }
        self.counted.push(delivery.to_owned());
        self
    }
}

/// One point for each doubling of the deal above 100, at most 20.
fn deal_points(total: Option<f64>) -> u32 {
    match total {
        // The cast drops the fraction, and the clamp has made it fit.
        Some(total) if total > 100.0 => (total / 100.0).log2().clamp(0.0, 20.0) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use triggerd_sdk::testing::{InvocationBuilder, TestHost, invocation};

    use super::*;

    fn touch(delivery: &str, input: Value) -> InvocationBuilder {
        invocation().change("afterInsert", "touches").delivery_id(delivery).input(input)
    }

    #[test]
    fn touches_add_up_over_calls() {
        let host = TestHost::new();
        let input = json!({"lead": "l-1", "touch": "demo", "weights": {"demo": 40}});
        let first = host.call(run, touch("d-1", input.clone())).unwrap();
        assert_eq!(first, Score { lead: "l-1".into(), touches: 1, score: 40, grade: Grade::Warm });
        let second = host.call(run, touch("d-2", input)).unwrap();
        assert_eq!(second, Score { lead: "l-1".into(), touches: 2, score: 80, grade: Grade::Hot });
    }

    #[test]
    fn a_retried_delivery_is_counted_once() {
        let host = TestHost::new();
        let input = json!({"lead": "l-1", "touch": "view"});
        host.call(run, touch("d-1", input.clone())).unwrap();
        let again = host.call(run, touch("d-1", input).attempt(2)).unwrap();
        assert_eq!((again.touches, again.score), (1, 1));
    }

    #[test]
    fn only_so_many_deliveries_are_remembered() {
        let host = TestHost::new();
        for delivery in 0..40 {
            let input = json!({"lead": "l-1", "touch": "view"});
            host.call(run, touch(&format!("d-{delivery}"), input)).unwrap();
        }
        let state = host.state("lead:l-1").unwrap();
        assert_eq!(state["touches"], json!(40));
        assert_eq!(state["counted"].as_array().map(Vec::len), Some(REMEMBERED));
    }

    #[test]
    fn a_large_deal_counts_but_not_without_end() {
        assert_eq!(deal_points(None), 0);
        assert_eq!(deal_points(Some(100.0)), 0);
        assert_eq!(deal_points(Some(800.0)), 3);
        assert_eq!(deal_points(Some(f64::MAX)), 20);
    }

    #[test]
    fn an_input_without_a_lead_fails_for_good() {
        let host = TestHost::new();
        let empty = host.call(run, touch("d-1", json!({"lead": "", "touch": "view"}))).unwrap_err();
        assert_eq!(empty.code, "LEAD_MISSING");
        let missing = host.call(run, touch("d-1", json!({"touch": "view"}))).unwrap_err();
        assert_eq!(missing.code, "INPUT_INVALID");
        assert!(!missing.is_retryable());
    }
}
