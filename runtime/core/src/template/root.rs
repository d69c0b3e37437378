//! The values of the event and the run that a placeholder can begin with.

use crate::mistake::nearest;

/// The names a placeholder may begin with.
pub(super) const ROOTS: [&str; 19] = [
    "record",
    "previousRecord",
    "changedFields",
    "event",
    "type",
    "table",
    "database",
    "env",
    "timestamp",
    "operation",
    "user",
    "source",
    "metadata",
    "payload",
    "trigger",
    "delivery",
    "attempt",
    "actions",
    "secrets",
];

/// What is known outside of blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[rustfmt::skip]
pub(super) enum Root {
    Record, PreviousRecord, ChangedFields, Event, Type, Table, Database, Env, Timestamp, Operation, User, Source,
    Metadata, Payload, TriggerTag, DeliveryId, Attempt, Output(String), Secret(String),
}

impl Root {
    /// Whether it has no members.
    pub fn is_scalar(&self) -> bool {
        let members =
            [Self::Record, Self::PreviousRecord, Self::ChangedFields, Self::User, Self::Metadata, Self::Payload];
        !matches!(self, Self::Output(_)) && !members.contains(self)
    }
}

/// A name of a path, and whether it stood in brackets.
pub(super) type Name<'t> = (&'t str, bool);

/// A root, and the names below it.
type Settled<'r> = Result<(Root, &'r [Name<'r>]), String>;

/// The root that `first` and, for some, the names after it mean; `text` is the whole placeholder, for messages.
pub(super) fn settle<'r>(text: &str, first: &str, rest: &'r [Name<'r>]) -> Settled<'r> {
    let root = match first {
        "record" => Root::Record,
        "previousRecord" => Root::PreviousRecord,
        "changedFields" => Root::ChangedFields,
        "event" => Root::Event,
        "type" => Root::Type,
        "table" => Root::Table,
        "database" => Root::Database,
        "env" => Root::Env,
        "timestamp" => Root::Timestamp,
        "operation" => Root::Operation,
        "user" => Root::User,
        "source" => Root::Source,
        "metadata" => Root::Metadata,
        "payload" => Root::Payload,
        "attempt" => Root::Attempt,
        "trigger" => return only_member(text, "trigger.tag", Root::TriggerTag, rest),
        "delivery" => return only_member(text, "delivery.id", Root::DeliveryId, rest),
        "actions" => return output(text, rest),
        "secrets" => return secret(text, rest),
        _ => return Err(unknown(text, first)),
    };
    Ok((root, rest))
}

fn only_member<'r>(text: &str, known: &str, root: Root, rest: &'r [Name<'r>]) -> Settled<'r> {
    match rest.split_first() {
        Some(((name, _), rest)) if known.split_once('.').is_some_and(|(_, member)| member == *name) => Ok((root, rest)),
        _ => Err(format!("unknown placeholder `{text}`, did you mean `{known}`?")),
    }
}

/// `actions.NAME.output`, where an unbracketed NAME may have dots: it reaches to the first `output`.
fn output<'r>(text: &str, rest: &'r [Name<'r>]) -> Settled<'r> {
    let at = rest.iter().skip(1).position(|(name, _)| *name == "output").map(|at| at + 1);
    match at {
        Some(at) => Ok((Root::Output(dotted(&rest[..at])), &rest[at + 1..])),
        None => Err(format!("`{text}`: an earlier action's result is `actions.NAME.output`")),
    }
}

/// `secrets.NAME`: the whole rest is the name, because secrets have no members.
fn secret<'r>(text: &str, rest: &'r [Name<'r>]) -> Settled<'r> {
    if rest.is_empty() {
        return Err(format!("`{text}`: secrets are used one by one, as `secrets.NAME`"));
    }
    Ok((Root::Secret(dotted(rest)), &[]))
}

fn dotted(names: &[Name<'_>]) -> String {
    names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(".")
}

fn unknown(text: &str, first: &str) -> String {
    match nearest(first, ROOTS) {
        Some(near) => {
            let rest = text.strip_prefix(first).unwrap_or_default();
            format!("unknown placeholder `{text}`, did you mean `{near}{rest}`?")
        }
        None => {
            let known = ROOTS.map(|root| format!("`{root}`")).join(", ");
            format!("unknown placeholder `{text}`; placeholders begin with {known}")
        }
    }
}
