//! A guest that does harm on request, for tests of the sandbox.
//!
//! `{"mode": "loop"}` and its like say which harm. `echo` does none: it answers with everything that
//! it was given, so that tests can hold the host to the invocation's contract.

use std::hint::black_box;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_sdk::{ActionError, Context};

/// The action's `input`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    mode: Mode,
    /// How much of it, where that can be said: MiB of `memory` and `result`, lines of `logs` and `stdout`,
    /// milliseconds of `retryable`.
    #[serde(default)]
    amount: Option<u64>,
    /// The address for `http`.
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Answers with the invocation.
    Echo,
    /// Never ends.
    Loop,
    /// Takes memory until there is none, or `amount` MiB.
    Memory,
    /// Panics.
    Trap,
    /// Calls itself without end.
    Stack,
    /// Logs lines of a kilobyte without end, or `amount` of them.
    Logs,
    /// Prints lines of a kilobyte without end, or `amount` of them.
    Stdout,
    /// Answers with 8 MiB, or `amount`.
    Result,
    /// Uses the state, which the test did not grant.
    StateForbidden,
    /// Reads a secret, which the test did not grant.
    SecretForbidden,
    /// Requests `url`, which the test did not grant.
    Http,
    /// Tries to read the host's environment, arguments and files; answers with what it saw.
    Snoop,
    /// Fails, but says that another try may help.
    Retryable,
    /// Fails for good.
    Permanent,
}

#[triggerd_sdk::action]
fn run(cx: Context<Input>) -> Result<Value, ActionError> {
    let amount = cx.input.amount;
    match cx.input.mode {
        Mode::Echo => echo(&cx),
        Mode::Loop => loop {
            black_box(());
        },
        Mode::Memory => Ok(json!({"taken_mib": take_memory(amount.unwrap_or(u64::MAX))})),
        Mode::Trap => panic!("the test asked for a panic"),
        Mode::Stack => Ok(json!({"depth": dive(0)})),
        Mode::Logs => {
            let line = "x".repeat(1024);
            (0..amount.unwrap_or(u64::MAX)).for_each(|_| cx.log().info(&line));
            Ok(Value::Null)
        }
        Mode::Stdout => {
            let line = "x".repeat(1024);
            (0..amount.unwrap_or(u64::MAX)).for_each(|_| println!("{line}"));
            Ok(Value::Null)
        }
        Mode::Result => {
            let bytes = amount.unwrap_or(8).saturating_mul(1 << 20);
            Ok("x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX)).into())
        }
        Mode::StateForbidden => Ok(json!({"version": cx.state().set("k", &1, None)?})),
        Mode::SecretForbidden => Ok(json!({"length": cx.secrets().get("KEY")?.len()})),
        Mode::Http => {
            let url = cx.input.url.as_deref().unwrap_or("http://127.0.0.1/");
            Ok(json!({"status": cx.http().get(url).send()?.status}))
        }
        Mode::Snoop => Ok(snoop()),
        Mode::Retryable => Err(match amount {
            Some(millis) => ActionError::retryable_after("ASKED_FOR", "try again", Duration::from_millis(millis)),
            None => ActionError::retryable("ASKED_FOR", "try again"),
        }),
        Mode::Permanent => Err(ActionError::permanent("ASKED_FOR", "do not try again")),
    }
}

/// Everything that the call was given.
fn echo(cx: &Context<Input>) -> Result<Value, ActionError> {
    Ok(json!({
        "event_id": cx.event_id,
        "delivery_id": cx.delivery_id,
        "attempt": cx.attempt,
        "tenant": cx.tenant,
        "trigger": cx.trigger,
        "action": cx.action,
        "event_name": cx.event_name,
        "event_type": cx.event_type,
        "operation": cx.operation,
        "database": cx.database,
        "table": cx.table,
        "env": cx.env,
        "timestamp": cx.timestamp,
        "source": cx.source,
        "record": cx.record::<Value>()?,
        "previous_record": cx.previous_record::<Value>()?,
        "changed_fields": cx.changed_fields,
        "user": cx.user::<Value>()?,
        "metadata": cx.metadata::<Value>()?,
        "input": parsed(&cx.input_json)?,
        "results": parsed(&cx.results_json)?,
        "traceparent": cx.traceparent,
    }))
}

fn parsed(json: &str) -> Result<Value, ActionError> {
    serde_json::from_str(json).map_err(|error| ActionError::permanent("JSON_INVALID", error.to_string()))
}

/// Takes memory in pieces of 1 MiB and writes to each page, so that it is really there.
fn take_memory(most_mib: u64) -> usize {
    let mut taken = Vec::new();
    while (taken.len() as u64) < most_mib {
        let mut piece = vec![0_u8; 1 << 20];
        piece.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        taken.push(black_box(piece));
    }
    taken.len()
}

/// Uses up the stack: the result is needed after the call, so that it is no loop.
#[expect(unconditional_recursion, reason = "the harm that was asked for")]
fn dive(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    black_box(dive(depth + 1)) + frame[0]
}

/// What the host lets be seen of itself: nothing, where the sandbox holds.
fn snoop() -> Value {
    let environment: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    let arguments: Vec<String> = std::env::args().collect();
    let files: Vec<String> = ["/etc/passwd", "/", ".", "/proc/self/environ"]
        .into_iter()
        .filter(|path| std::fs::metadata(path).is_ok())
        .map(String::from)
        .collect();
    json!({"environment": environment, "arguments": arguments, "files": files})
}

#[cfg(test)]
mod tests {
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    #[test]
    fn harm_is_done_in_the_amount_asked_for() {
        let host = TestHost::new();
        let call = |input: Value| host.call(run, invocation().input(input));
        assert_eq!(call(json!({"mode": "memory", "amount": 2})), Ok(json!({"taken_mib": 2})));
        let result = call(json!({"mode": "result", "amount": 1})).unwrap();
        assert_eq!(result.as_str().map(str::len), Some(1 << 20));
        call(json!({"mode": "logs", "amount": 3})).unwrap();
        assert_eq!(host.logs().len(), 3);
    }

    #[test]
    fn an_echo_holds_every_field() {
        let call = invocation().change("afterUpdate", "orders").record(json!({"id": 1})).input(json!({"mode": "echo"}));
        let echo = TestHost::new().call(run, call).unwrap();
        assert_eq!(echo.as_object().map(|fields| fields.len()), Some(22));
        assert_eq!(echo["record"], json!({"id": 1}));
    }

    #[test]
    fn failures_are_of_the_kind_asked_for() {
        let call = |input: Value| TestHost::new().call(run, invocation().input(input)).unwrap_err();
        assert!(call(json!({"mode": "retryable"})).is_retryable());
        assert!(!call(json!({"mode": "permanent"})).is_retryable());
        assert_eq!(call(json!({"mode": "nonsense"})).code, "INPUT_INVALID");
    }
}
