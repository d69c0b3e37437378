//! What the in-memory host remembers: values with versions and times to live.

use std::collections::BTreeMap;

/// A map whose entries may run out, on a clock that only tests move.
#[derive(Debug)]
pub(super) struct Memory<V> {
    entries: BTreeMap<String, Kept<V>>,
    /// Versions go on counting over removals, so that an old one never fits again.
    last_version: u64,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    version: u64,
    /// In seconds of the host's clock.
    until: Option<u64>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), last_version: 0 }
    }
}

impl<V: Clone> Memory<V> {
    pub(super) fn get(&self, key: &str, now: u64) -> Option<(V, u64)> {
        let kept = self.entries.get(key)?;
        kept.is_there(now).then(|| (kept.value.clone(), kept.version))
    }

    pub(super) fn set(&mut self, key: &str, value: V, ttl_seconds: Option<u64>, now: u64) -> u64 {
        self.last_version += 1;
        let until = ttl_seconds.map(|ttl| now.saturating_add(ttl));
        self.entries.insert(key.into(), Kept { value, version: self.last_version, until });
        self.last_version
    }

    pub(super) fn remove(&mut self, key: &str, now: u64) -> bool {
        self.entries.remove(key).is_some_and(|kept| kept.is_there(now))
    }

    /// The keys that are there.
    pub(super) fn keys(&self, now: u64) -> Vec<String> {
        let there = self.entries.iter().filter(|(_, kept)| kept.is_there(now));
        there.map(|(key, _)| key.clone()).collect()
    }
}

impl<V> Kept<V> {
    fn is_there(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Whether `text` fits a glob of `*` (any characters) and `?` (one character).
pub(super) fn glob_matches(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| glob_matches(rest, &text[at..]))
        }
        Some(wanted) => text.chars().next().is_some_and(|found| {
            (wanted == '?' || wanted == found) && glob_matches(&pattern[wanted.len_utf8()..], &text[found.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(glob_matches("order:*", "order:17"));
        assert!(glob_matches("*:1?", "order:17"));
        assert!(!glob_matches("order:?", "order:17"));
        assert!(!glob_matches("", "x"));
    }

    #[test]
    fn an_entry_runs_out_on_its_second() {
        let mut memory = Memory::default();
        let version = memory.set("a", 1, Some(10), 0);
        assert_eq!(memory.get("a", 9), Some((1, version)));
        assert_eq!(memory.get("a", 10), None);
    }
}
