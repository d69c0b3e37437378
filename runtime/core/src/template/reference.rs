//! Placeholders: which value a name means, settled at compile time.

use serde_json::Value;

use super::found::Found;
use super::root::{Name, Root, settle};

/// Those that keep their meaning inside `each` and `with` where the item has no such member.
const ALWAYS_ROOTS: [&str; 4] = ["record", "previousRecord", "actions", "secrets"];

/// A placeholder.
#[derive(Debug)]
pub(super) struct Reference {
    /// As it was written.
    pub text: String,
    /// Where the path begins.
    pub start: Start,
    /// The steps from there.
    pub steps: Vec<Step>,
}

/// Where a path begins.
#[derive(Debug)]
pub(super) enum Start {
    /// A value of the event or the run.
    Root(Root),
    /// A value of the block `up` levels further out (0: the innermost), else what the same words mean at the root.
    Block { up: usize, what: Local, otherwise: Option<Box<Reference>> },
}

/// What a block knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Local {
    /// `this`
    Item,
    /// `@key`
    Key,
    /// `@index`
    Index,
    /// `@first`
    First,
    /// `@last`
    Last,
}

/// One step of a path.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// A member's name.
    pub key: String,
    /// The same as an array's index.
    pub index: Option<usize>,
}

impl Step {
    fn new(key: &str) -> Self {
        Self { key: key.to_owned(), index: key.parse().ok() }
    }
}

/// The value below `value`.
pub(super) fn walk<'v>(value: &'v Value, steps: &[Step]) -> Found<'v> {
    let mut at = value;
    for (i, step) in steps.iter().enumerate() {
        let next = match at {
            Value::Object(members) => members.get(&step.key),
            Value::Array(items) if step.key == "length" && i + 1 == steps.len() => {
                return Found::Made(items.len().into());
            }
            Value::Array(items) => step.index.and_then(|index| items.get(index)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return Found::Missing,
        }
    }
    Found::Json(at)
}

/// A block that a placeholder stands in.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Whether it is `each`, which knows `@index` and its kin.
    pub each: bool,
    /// `as |item|`
    pub item: Option<String>,
    /// `as |item key|`
    pub key: Option<String>,
}

/// A path as it was written.
struct Written<'t> {
    /// Began with `this.` or `./`, or was `this`.
    this: bool,
    /// Began with `@root.`.
    root: bool,
    /// Began with `@`.
    data: bool,
    /// How many `../` it began with.
    up: usize,
    /// The names, and whether each stood in brackets.
    names: Vec<Name<'t>>,
}

impl<'t> Written<'t> {
    fn parse(text: &'t str) -> Self {
        let mut rest = text;
        let mut strip = |prefixes: &[&str]| {
            let stripped = prefixes.iter().find_map(|prefix| rest.strip_prefix(prefix));
            rest = stripped.unwrap_or(rest);
            stripped.is_some()
        };
        let mut this = strip(&["this.", "this/", "./"]);
        let root = strip(&["@root.", "@root/"]);
        let data = strip(&["@"]);
        let mut up = 0;
        while strip(&["../", "..."]) {
            up += 1;
        }
        let mut names = Vec::new();
        while !rest.is_empty() {
            let (name, bracketed, after) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                Some((name, after)) => (name, true, after),
                None => {
                    let end = rest.find(['.', '/']).unwrap_or(rest.len());
                    (&rest[..end], false, &rest[end..])
                }
            };
            rest = after.strip_prefix(['.', '/']).unwrap_or(after);
            if name == "this" && !bracketed {
                this |= names.is_empty();
            } else {
                names.push((name, bracketed));
            }
        }
        Self { this, root, data, up, names }
    }
}

impl Reference {
    /// Settles what `text` means inside `levels` (innermost last); the error is a sentence.
    pub fn resolve(text: &str, levels: &[Level]) -> Result<Self, String> {
        let written = Written::parse(text);
        if written.data {
            return Self::data(text, &written, levels);
        }
        if written.root {
            return Self::root(text, &written.names);
        }
        if written.up == 0
            && !written.this
            && let Some((up, what)) = block_parameter(&written.names, levels)
        {
            let start = Start::Block { up, what, otherwise: None };
            return Ok(Self { text: text.to_owned(), start, steps: steps(&written.names[1..]) });
        }
        if written.up > levels.len() {
            return Err(format!("`{text}` leaves the template: it stands in {} blocks with an item", levels.len()));
        }
        if written.up == levels.len() {
            return Self::root(text, &written.names);
        }
        let bare = written.up == 0 && !written.this;
        let always = bare && written.names.first().is_some_and(|first| ALWAYS_ROOTS.contains(&first.0));
        let otherwise = if always { Self::root(text, &written.names).ok().map(Box::new) } else { None };
        let start = Start::Block { up: written.up, what: Local::Item, otherwise };
        Ok(Self { text: text.to_owned(), start, steps: steps(&written.names) })
    }

    fn data(text: &str, written: &Written<'_>, levels: &[Level]) -> Result<Self, String> {
        let what = match written.names.as_slice() {
            [("index", false)] => Local::Index,
            [("key", false)] => Local::Key,
            [("first", false)] => Local::First,
            [("last", false)] => Local::Last,
            _ => {
                return Err(format!("unknown `{text}`; known are `@index`, `@key`, `@first`, `@last` and `@root.…`"));
            }
        };
        let mut eaches = levels.iter().rev().enumerate().filter(|(_, level)| level.each);
        match eaches.nth(written.up) {
            Some((up, _)) => {
                let start = Start::Block { up, what, otherwise: None };
                Ok(Self { text: text.to_owned(), start, steps: Vec::new() })
            }
            None => Err(format!("`{text}` has a value inside of `each` only")),
        }
    }

    fn root(text: &str, names: &[Name<'_>]) -> Result<Self, String> {
        let Some(((first, _), rest)) = names.split_first() else {
            return Err(format!("`{text}` has a value inside of `each` and `with` only"));
        };
        let (root, rest) = settle(text, first, rest)?;
        if !rest.is_empty() && root.is_scalar() {
            return Err(format!("`{text}`: `{first}` has no members"));
        }
        Ok(Self { text: text.to_owned(), start: Start::Root(root), steps: steps(rest) })
    }
}

fn steps(names: &[Name<'_>]) -> Vec<Step> {
    names.iter().map(|(name, _)| Step::new(name)).collect()
}

fn block_parameter(names: &[Name<'_>], levels: &[Level]) -> Option<(usize, Local)> {
    let (first, _) = names.first()?;
    levels.iter().rev().enumerate().find_map(|(up, level)| {
        if level.item.as_deref() == Some(first) {
            Some((up, Local::Item))
        } else if level.key.as_deref() == Some(first) {
            Some((up, Local::Key))
        } else {
            None
        }
    })
}
