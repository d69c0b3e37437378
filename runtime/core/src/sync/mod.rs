//! Keeping one row of two tables equal: what is to be done, decided from what both sides hold now and from what they held
//! when they last agreed (the *base*).
//!
//! Events only say which row to look at. What is decided never depends on the order in which they come, so that late,
//! doubled and lost ones change nothing: a row that both sides hold as the base says is at rest, whatever was told of it.

#[cfg(test)]
mod tests;

use jiff::Timestamp;

/// One of the two tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The one that the settings name first.
    Source,
    /// The other one.
    Target,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }

    /// `source` or `target`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// Tells one state of a row from every other: a digest of what it holds.
pub type Version = [u8; 32];

/// What a side holds of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The row.
    Row {
        /// Of what it holds.
        version: Version,
        /// When it was changed, as its own timestamp column says.
        at: Option<Timestamp>,
    },
    /// None.
    Gone {
        /// When it was deleted, where that is known.
        at: Option<Timestamp>,
    },
}

impl Seen {
    /// Of the row; `None` where there is none.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Row { version, .. } => Some(*version),
            Self::Gone { .. } => None,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

/// What both sides held when they last agreed, or when it was last decided to leave them apart.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Base {
    /// `None`: no row.
    pub source: Option<Version>,
    /// `None`: no row.
    pub target: Option<Version>,
}

/// Who wins where both sides have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The later change, by the rows' own timestamp column and a deletion's commit. The source, where they do not say.
    Newest,
    /// The source.
    SourceWins,
    /// The target.
    TargetWins,
    /// Somebody else is asked.
    Ask,
}

/// How a sync is to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// What the target holds goes to the source too.
    pub both_ways: bool,
    /// Who wins.
    pub policy: Policy,
    /// Deletions are carried over.
    pub deletes: bool,
    /// A deletion of unknown time is waited for: its own event is still to come.
    pub patient: bool,
    /// What somebody changed in the target of a one-way sync is put right.
    pub repair: bool,
}

/// Why a value is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Both sides had changed.
    Conflict,
    /// The change was older than what it would have replaced.
    Stale,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing.
    Same,
    /// Both sides hold the same: what they hold is the new base.
    Agree,
    /// What the other side holds is put `to` this one (a row that is gone there is deleted here).
    Copy {
        /// Which side is written.
        to: Side,
        /// What it holds now is lost by it.
        lost: Option<Reason>,
    },
    /// Both sides stay as they are, and are the new base.
    Leave {
        /// What the source holds is not carried over.
        lost: Option<Reason>,
    },
    /// Somebody else decides.
    Ask,
    /// Nothing yet: when the row was deleted is not known.
    Wait,
}

/// Decides. `equal`: both sides hold rows that mean the same.
#[must_use]
pub fn decide(rules: Rules, base: Option<Base>, source: Seen, target: Seen, equal: bool) -> Decision {
    let same = match (source.is_gone(), target.is_gone()) {
        (true, true) => true,
        (false, false) => equal,
        _ => false,
    };
    let Some(base) = base else {
        return match (source.is_gone(), target.is_gone()) {
            (true, true) => Decision::Same,
            _ if same => Decision::Agree,
            (false, true) => Decision::Copy { to: Side::Target, lost: None },
            // Nothing says that the source ever held it.
            (true, false) if rules.both_ways => Decision::Copy { to: Side::Source, lost: None },
            (true, false) => Decision::Same,
            (false, false) => both_changed(rules, source, target),
        };
    };
    match (source.version() != base.source, target.version() != base.target) {
        (false, false) => Decision::Same,
        _ if same => Decision::Agree,
        (true, false) => one_changed(rules, Side::Source, source, target),
        (false, true) if rules.both_ways => one_changed(rules, Side::Target, target, source),
        (false, true) if rules.repair => repaired(source),
        (false, true) => Decision::Same,
        (true, true) => both_changed(rules, source, target),
    }
}

/// A one-way sync's target was changed by somebody else.
fn repaired(source: Seen) -> Decision {
    if source.is_gone() {
        return Decision::Leave { lost: None };
    }
    Decision::Copy { to: Side::Target, lost: Some(Reason::Conflict) }
}

/// `from` changed; the other side is as the base says.
fn one_changed(rules: Rules, from: Side, changed: Seen, other: Seen) -> Decision {
    if changed.is_gone() && !rules.deletes {
        return Decision::Leave { lost: None };
    }
    if let (Policy::Newest, Seen::Row { at: Some(at), .. }, Seen::Row { at: Some(newer), .. }) =
        (rules.policy, changed, other)
        && at < newer
    {
        return won(rules, from.other(), Reason::Stale);
    }
    Decision::Copy { to: from.other(), lost: None }
}

fn both_changed(rules: Rules, source: Seen, target: Seen) -> Decision {
    let winner = match rules.policy {
        Policy::SourceWins => Side::Source,
        Policy::TargetWins => Side::Target,
        Policy::Ask => return Decision::Ask,
        Policy::Newest => match newest(source, target, rules.patient) {
            Some(winner) => winner,
            None => return Decision::Wait,
        },
    };
    let winning = if winner == Side::Source { source } else { target };
    if winning.is_gone() && !rules.deletes {
        return Decision::Leave { lost: None };
    }
    won(rules, winner, Reason::Conflict)
}

/// `winner` prevails over the other side.
#[must_use]
pub fn won(rules: Rules, winner: Side, why: Reason) -> Decision {
    if winner == Side::Target && !rules.both_ways {
        return Decision::Leave { lost: Some(why) };
    }
    Decision::Copy { to: winner.other(), lost: Some(why) }
}

fn newest(source: Seen, target: Seen, patient: bool) -> Option<Side> {
    match (source, target) {
        (Seen::Row { at: ours, .. }, Seen::Row { at: theirs, .. }) => {
            // Nothing is earlier than any instant.
            Some(if theirs > ours { Side::Target } else { Side::Source })
        }
        (Seen::Gone { at: deleted }, Seen::Row { at, .. }) => deletion(Side::Source, deleted, at, patient),
        (Seen::Row { at, .. }, Seen::Gone { at: deleted }) => deletion(Side::Target, deleted, at, patient),
        (Seen::Gone { .. }, Seen::Gone { .. }) => Some(Side::Source),
    }
}

/// A row that is gone on `side` against one that has changed. What is not known speaks for the row: it can be deleted again.
fn deletion(side: Side, deleted: Option<Timestamp>, changed: Option<Timestamp>, patient: bool) -> Option<Side> {
    match (deleted, changed) {
        (None, _) if patient => None,
        (Some(deleted), Some(changed)) if deleted > changed => Some(side),
        _ => Some(side.other()),
    }
}
