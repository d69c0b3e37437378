//! A model of two tables, their writers, and a sync that is killed at the worst moments.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

/// A row of the model: a value that no other write has, and its timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    value: u32,
    at: i64,
}

fn seen(row: Option<Row>, deleted: Option<i64>) -> Seen {
    let instant = |at: i64| Timestamp::from_second(at).ok();
    match row {
        Some(row) => Seen::Row { version: version(row), at: instant(row.at) },
        None => Seen::Gone { at: deleted.and_then(instant) },
    }
}

fn version(row: Row) -> Version {
    let mut version = [0; 32];
    version[..4].copy_from_slice(&row.value.to_be_bytes());
    version[4..12].copy_from_slice(&row.at.to_be_bytes());
    version
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody writes a key on a side, at a time of his own.
    Put(bool, u8, i64),
    Delete(bool, u8),
    /// One of the events that wait is delivered, not necessarily the first; `crash` says where the sync dies in it.
    Deliver(usize, Crash),
    /// An event is delivered again.
    Again(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Crash {
    No,
    /// After the intent was kept, before the other side's commit.
    BeforeCommit,
    /// After the commit, before the base was kept.
    AfterCommit,
}

/// What is kept of a key.
#[derive(Clone, Copy, Default, Debug)]
struct Kept {
    base: Option<Base>,
    intent: Option<Intent>,
}

#[derive(Clone, Copy, Debug)]
struct Intent {
    to: Side,
    /// What the written side held before.
    before: Option<Version>,
    base: Base,
    conflict: Option<usize>,
}

#[derive(Default)]
struct World {
    tables: [BTreeMap<u8, Row>; 2],
    kept: BTreeMap<u8, Kept>,
    events: Vec<(Side, u8, Option<i64>)>,
    told: Vec<(Side, u8, Option<i64>)>,
    conflicts: BTreeMap<usize, Option<u32>>,
    /// What writers saw when they wrote over it.
    overwritten: HashSet<u32>,
    next: u32,
    now: i64,
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Target)
}

impl World {
    fn write(&mut self, side: Side, key: u8, row: Option<i64>) {
        self.now += 1;
        let table = &mut self.tables[index(side)];
        let before = match row {
            Some(at) => {
                self.next += 1;
                table.insert(key, Row { value: self.next, at })
            }
            None => match table.remove(&key) {
                None => return,
                some => some,
            },
        };
        self.overwritten.extend(before.map(|row| row.value));
        let event = (side, key, row.is_none().then_some(self.now));
        self.events.push(event);
    }

    /// One event's work, as the host does it. `false`: it is to come again.
    fn deliver(&mut self, rules: Rules, event: (Side, u8, Option<i64>), crash: Crash, patient: bool) -> bool {
        let (side, key, deleted) = event;
        let [source, target] = [self.tables[0].get(&key).copied(), self.tables[1].get(&key).copied()];
        let mut kept = self.kept.get(&key).copied().unwrap_or_default();
        if let Some(intent) = kept.intent.take() {
            let (now, meant) = match intent.to {
                Side::Source => (source.map(version), intent.base.source),
                Side::Target => (target.map(version), intent.base.target),
            };
            if now == meant {
                kept.base = Some(intent.base);
            } else if let Some(id) = intent.conflict.filter(|_| now == intent.before) {
                self.conflicts.remove(&id);
            }
            self.kept.insert(key, kept);
        }
        let gone = |of: Side| deleted.filter(|_| of == side);
        let (s, t) = (seen(source, gone(Side::Source)), seen(target, gone(Side::Target)));
        let here = Base { source: s.version(), target: t.version() };
        let rules = Rules { patient: rules.patient && patient, ..rules };
        let lose = |world: &mut Self, value: Option<Row>| {
            let id =
                world.conflicts.len() + 1000 * world.told.len() + usize::try_from(world.now).unwrap_or(0) * 1_000_000;
            world.conflicts.insert(id, value.map(|row| row.value));
            id
        };
        match decide(rules, kept.base, s, t, source == target) {
            Decision::Same => {}
            Decision::Wait => return false,
            Decision::Agree | Decision::Leave { lost: None } => kept.base = Some(here),
            Decision::Leave { lost: Some(_) } => {
                lose(self, source);
                kept.base = Some(here);
            }
            Decision::Ask => unreachable!("no test asks"),
            Decision::Copy { to, lost } => {
                let (row, losing) = if to == Side::Target { (source, target) } else { (target, source) };
                let conflict = lost.map(|_| lose(self, losing));
                let base = Base { source: row.map(version), target: row.map(version) };
                self.now += 1;
                kept.intent = Some(Intent { to, before: losing.map(version), base, conflict });
                self.kept.insert(key, kept);
                if crash == Crash::BeforeCommit {
                    return false;
                }
                match row {
                    Some(row) => self.tables[index(to)].insert(key, row),
                    None => self.tables[index(to)].remove(&key),
                };
                if crash == Crash::AfterCommit {
                    return false;
                }
                kept = Kept { base: Some(base), intent: None };
            }
        }
        self.kept.insert(key, kept);
        true
    }
}

fn step() -> impl Strategy<Value = Step> {
    let crash = prop_oneof![6 => Just(Crash::No), 1 => Just(Crash::BeforeCommit), 1 => Just(Crash::AfterCommit)];
    prop_oneof![
        4 => (any::<bool>(), 0..3u8, 0..40i64).prop_map(|(side, key, at)| Step::Put(side, key, at)),
        1 => (any::<bool>(), 0..3u8).prop_map(|(side, key)| Step::Delete(side, key)),
        4 => (any::<usize>(), crash).prop_map(|(which, crash)| Step::Deliver(which, crash)),
        1 => any::<usize>().prop_map(Step::Again),
    ]
}

fn side(source: bool) -> Side {
    if source { Side::Source } else { Side::Target }
}

fn run(rules: Rules, steps: Vec<Step>) -> World {
    let mut world = World::default();
    for step in steps {
        match step {
            Step::Put(of, key, at) => world.write(side(of), key, Some(at)),
            Step::Delete(of, key) => world.write(side(of), key, None),
            Step::Deliver(which, crash) if !world.events.is_empty() => {
                let event = world.events.remove(which % world.events.len());
                if world.deliver(rules, event, crash, true) {
                    world.told.push(event);
                } else {
                    world.events.push(event);
                }
            }
            Step::Again(which) if !world.told.is_empty() => {
                let event = world.told[which % world.told.len()];
                world.deliver(rules, event, Crash::No, false);
            }
            _ => {}
        }
    }
    while let Some(event) = world.events.pop() {
        world.deliver(rules, event, Crash::No, false);
        world.told.push(event);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_sides_come_to_be_equal_and_every_lost_value_is_explained(
        steps in proptest::collection::vec(step(), 0..60),
        policy in prop_oneof![Just(Policy::Newest), Just(Policy::SourceWins), Just(Policy::TargetWins)],
    ) {
        let rules = Rules { both_ways: true, policy, deletes: true, patient: true, repair: false };
        let world = run(rules, steps);
        prop_assert_eq!(&world.tables[0], &world.tables[1]);
        let last: HashSet<u32> = world.tables[0].values().map(|row| row.value).collect();
        let lost: HashSet<u32> = world.conflicts.values().flatten().copied().collect();
        for value in 1..=world.next {
            let explained = last.contains(&value) || lost.contains(&value) || world.overwritten.contains(&value);
            prop_assert!(explained, "value {} is gone without a trace", value);
        }
        // What is at rest stays at rest.
        let mut world = world;
        let tables = world.tables.clone();
        for event in world.told.clone() {
            world.deliver(rules, event, Crash::No, false);
        }
        prop_assert_eq!(&world.tables, &tables);
    }

    #[test]
    fn a_one_way_sync_never_writes_its_source(steps in proptest::collection::vec(step(), 0..60)) {
        let rules = Rules { both_ways: false, policy: Policy::SourceWins, deletes: true, patient: true, repair: false };
        let mut model: BTreeMap<u8, u32> = BTreeMap::new();
        let mut next = 0;
        for step in &steps {
            match step {
                Step::Put(_, key, _) => {
                    next += 1;
                    model.insert(*key, next);
                }
                Step::Delete(_, key) => drop(model.remove(key)),
                _ => {}
            }
        }
        let only_source = steps.into_iter().map(|step| match step {
            Step::Put(_, key, at) => Step::Put(true, key, at),
            Step::Delete(_, key) => Step::Delete(true, key),
            other => other,
        });
        let world = run(rules, only_source.collect());
        let source: BTreeMap<u8, u32> = world.tables[0].iter().map(|(key, row)| (*key, row.value)).collect();
        prop_assert_eq!(source, model);
        prop_assert_eq!(&world.tables[0], &world.tables[1]);
        prop_assert!(world.conflicts.is_empty());
    }
}

const NEWEST: Rules = Rules { both_ways: true, policy: Policy::Newest, deletes: true, patient: true, repair: false };

#[test]
fn a_stale_change_is_undone_and_kept_for_a_person() {
    let (old, new) = (Row { value: 1, at: 5 }, Row { value: 2, at: 9 });
    let base = Base { source: Some([9; 32]), target: Some(version(new)) };
    let decided = decide(NEWEST, Some(base), seen(Some(old), None), seen(Some(new), None), false);
    assert_eq!(decided, Decision::Copy { to: Side::Source, lost: Some(Reason::Stale) });
    let one_way = Rules { both_ways: false, ..NEWEST };
    let decided = decide(one_way, Some(base), seen(Some(old), None), seen(Some(new), None), false);
    assert_eq!(decided, Decision::Leave { lost: Some(Reason::Stale) });
}

#[test]
fn a_deletion_wins_against_an_older_change_and_is_waited_for_where_its_time_is_unknown() {
    let row = seen(Some(Row { value: 1, at: 5 }), None);
    let base = Some(Base { source: Some([1; 32]), target: Some([1; 32]) });
    let deleted = |at| decide(NEWEST, base, seen(None, at), row, false);
    assert_eq!(deleted(Some(6)), Decision::Copy { to: Side::Target, lost: Some(Reason::Conflict) });
    assert_eq!(deleted(Some(4)), Decision::Copy { to: Side::Source, lost: Some(Reason::Conflict) });
    assert_eq!(deleted(None), Decision::Wait);
    let impatient = Rules { patient: false, ..NEWEST };
    let decided = decide(impatient, base, seen(None, None), row, false);
    assert_eq!(decided, Decision::Copy { to: Side::Source, lost: Some(Reason::Conflict) });
}

#[test]
fn deletions_can_be_kept_where_they_are_made() {
    let row = Row { value: 1, at: 5 };
    let base = Some(Base { source: Some(version(row)), target: Some(version(row)) });
    let rules = Rules { deletes: false, ..NEWEST };
    let decided = decide(rules, base, seen(None, Some(9)), seen(Some(row), None), false);
    assert_eq!(decided, Decision::Leave { lost: None });
}
