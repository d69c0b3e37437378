//! The parameters of a query, read strictly: an unknown name or a wrong value is named, never ignored.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;

use super::problem::{Answer, ApiError};
use crate::store::{self, EventFilter, EventStatus, PageRequest};

/// Items of a page where none is asked for.
const DEFAULT_LIMIT: u32 = 100;
/// Items of a page at most.
const MAX_LIMIT: u32 = 1000;

/// The filters of the inbox.
pub const FILTERS: [&str; 6] = ["event_type", "status", "source", "table", "start_time", "end_time"];
/// What pages go by.
pub const PAGING: [&str; 2] = ["limit", "cursor"];

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query that may hold the `known` names, each once.
    pub fn read(query: Option<&str>, known: &[&str]) -> Answer<Self> {
        let pairs = decode(query.unwrap_or_default())?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let unknown = Mistake::unknown("", "parameter", name, known.iter().copied());
                return Err(ApiError::parameter(name, unknown.detail));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(ApiError::parameter(name, "it is given twice"));
            }
        }
        Ok(Self(pairs))
    }

    /// Reads the same parameters from a JSON body's members; numbers and booleans count as their text.
    pub fn of_body(body: &Map<String, Value>, known: &[&str]) -> Result<Self, Vec<Mistake>> {
        let (mut pairs, mut mistakes) = (Vec::new(), Vec::new());
        for (name, value) in body {
            let pointer = triggerd_core::mistake::join("", name);
            match value {
                _ if !known.contains(&name.as_str()) => {
                    mistakes.push(Mistake::unknown(pointer, "filter", name, known.iter().copied()));
                }
                Value::Null => {}
                Value::String(text) => pairs.push((name.clone(), text.clone())),
                Value::Number(_) | Value::Bool(_) => pairs.push((name.clone(), value.to_string())),
                Value::Array(_) | Value::Object(_) => mistakes.push(Mistake::new(pointer, "a text is needed")),
            }
        }
        if mistakes.is_empty() { Ok(Self(pairs)) } else { Err(mistakes) }
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A parameter's text; one that is empty counts as not given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A parameter's text, owned.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str) -> Answer<bool> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(ApiError::parameter(name, format!("`{other}` is neither `true` nor `false`"))),
        }
    }

    /// A number of milliseconds.
    pub fn millis(&self, name: &str) -> Answer<Option<Duration>> {
        self.number(name, "a number of milliseconds").map(|ms| ms.map(Duration::from_millis))
    }

    /// A whole number.
    pub fn number(&self, name: &str, wanted: &str) -> Answer<Option<u64>> {
        let wrong = |text: &str| ApiError::parameter(name, format!("`{text}` is not {wanted}"));
        self.get(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    /// An instant: RFC 3339.
    pub fn instant(&self, name: &str) -> Answer<Option<Timestamp>> {
        // A `+` that was sent unescaped has become a space.
        let read = |text: &str| text.replacen(' ', "+", usize::from(text.contains('T'))).parse().ok();
        let wrong = |text: &str| {
            ApiError::parameter(name, format!("`{text}` is not an RFC 3339 time such as `2026-01-31T12:00:00Z`"))
        };
        self.get(name).map(|text| read(text).ok_or_else(|| wrong(text))).transpose()
    }

    /// Which part of a list.
    pub fn page(&self) -> Answer<PageRequest> {
        let limit = self.limit(MAX_LIMIT)?;
        let cursor = self.text("cursor");
        // A cursor is a short text of ours: anything else never was one.
        if cursor.as_ref().is_some_and(|c| c.len() > 256 || !c.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ApiError::parameter("cursor", "it is not one that this API gave out"));
        }
        Ok(PageRequest { limit, cursor })
    }

    /// How many items, 1 to `most`.
    pub fn limit(&self, most: u32) -> Answer<u32> {
        let wanted = format!("a whole number from 1 to {most}");
        match self.number("limit", &wanted)? {
            None => Ok(DEFAULT_LIMIT.min(most)),
            Some(limit) => match u32::try_from(limit).ok().filter(|limit| (1..=most).contains(limit)) {
                Some(limit) => Ok(limit),
                None => Err(ApiError::parameter("limit", format!("`{limit}` is not {wanted}"))),
            },
        }
    }

    /// The inbox's filters.
    pub fn filter(&self) -> Answer<EventFilter> {
        let filter = EventFilter {
            event_type: self.text("event_type"),
            status: self.get("status").map(status).transpose()?,
            source: self.text("source"),
            table: self.text("table"),
            start: self.instant("start_time")?,
            end: self.instant("end_time")?,
            trigger: self.text("trigger"),
        };
        match (filter.start, filter.end) {
            (Some(start), Some(end)) if start > end => {
                Err(ApiError::parameter("start_time", "it is later than `end_time`"))
            }
            _ => Ok(filter),
        }
    }
}

/// One page of a list that is in memory, in the order of its keys.
#[derive(PartialEq, Eq, Debug)]
pub struct Paged<T> {
    /// The page's items.
    pub items: Vec<T>,
    /// All items, of all pages.
    pub total: usize,
    /// Where the next page begins; `None` on the last one.
    pub cursor: Option<String>,
}

impl<T> Paged<T> {
    /// Cuts the page out of `all`, which is sorted by `key`; a key that has gone meanwhile moves nothing.
    pub fn by_key(all: Vec<T>, page: &PageRequest, key: impl Fn(&T) -> &str) -> Self {
        let total = all.len();
        let after = page.cursor.as_deref().unwrap_or_default();
        let mut rest = all.into_iter().filter(|item| key(item) > after);
        let items: Vec<T> = rest.by_ref().take(page.limit as usize).collect();
        let cursor = rest.next().and_then(|_| items.last().map(|last| key(last).to_owned()));
        Self { items, total, cursor }
    }

    /// The answer: `{<name>: [...], total, cursor, has_more}`.
    pub fn answer(&self, name: &str, shown: impl FnMut(&T) -> Value) -> Value {
        let items = self.items.iter().map(shown).collect();
        let mut answer = Map::new();
        answer.insert(name.to_owned(), Value::Array(items));
        answer.insert("total".into(), self.total.into());
        answer.insert("cursor".into(), self.cursor.clone().into());
        answer.insert("has_more".into(), self.cursor.is_some().into());
        Value::Object(answer)
    }
}

/// What the store said to a page that was asked for: all that it can hold against one is the cursor.
pub fn page_error(error: store::Error) -> ApiError {
    match error {
        store::Error::Conflict(_) => ApiError::parameter("cursor", "it is not one that this list gave out"),
        other => other.into(),
    }
}

fn status(text: &str) -> Answer<EventStatus> {
    match text {
        "pending" => Ok(EventStatus::Pending),
        "delivered" => Ok(EventStatus::Delivered),
        "failed" => Ok(EventStatus::Failed),
        "unmatched" => Ok(EventStatus::Unmatched),
        _ => Err(ApiError::parameter(
            "status",
            format!("`{text}` is none of `pending`, `delivered`, `failed`, `unmatched`"),
        )),
    }
}

/// Decodes `application/x-www-form-urlencoded` pairs.
fn decode(query: &str) -> Answer<Vec<(String, String)>> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| ApiError::malformed("the query is not UTF-8"))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KNOWN: [&str; 9] =
        ["event_type", "status", "source", "table", "start_time", "end_time", "limit", "cursor", "wait"];

    fn params(query: &str) -> Params {
        Params::read(Some(query), &KNOWN).unwrap()
    }

    fn fault(error: ApiError) -> String {
        error.into_mistakes()[0].to_string()
    }

    #[test]
    fn filters_are_read_with_their_escapes() {
        let filter =
            params("event_type=order%2Ecreated&status=failed&source=a+b&start_time=2026-01-31T12:00:00%2B01:00")
                .filter()
                .unwrap();
        assert_eq!(filter.event_type.as_deref(), Some("order.created"));
        assert_eq!(filter.status, Some(EventStatus::Failed));
        assert_eq!(filter.source.as_deref(), Some("a b"));
        assert_eq!(filter.start, Some("2026-01-31T11:00:00Z".parse().unwrap()));
        let unescaped = params("start_time=2026-01-31T12:00:00+01:00").filter().unwrap();
        assert_eq!(unescaped.start, filter.start);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let filter = |query: &str| fault(params(query).filter().unwrap_err());
        assert_eq!(filter("status=done"), "/status: `done` is none of `pending`, `delivered`, `failed`, `unmatched`");
        assert!(filter("start_time=yesterday").starts_with("/start_time: `yesterday` is not"));
        assert!(filter("start_time=2026-02-01T00:00:00Z&end_time=2026-01-01T00:00:00Z").contains("later"));
        let unknown = |query: &str| fault(Params::read(Some(query), &KNOWN).unwrap_err());
        assert!(unknown("statis=done").contains("did you mean `status`?"));
        assert!(unknown("wait=1&wait=2").contains("twice"));
        assert!(Params::read(Some("status=%ff"), &KNOWN).is_err());
        assert!(params("wait=maybe").flag("wait").is_err());
    }

    #[test]
    fn a_page_holds_1_to_1000() {
        assert_eq!(params("").page().unwrap(), PageRequest { limit: 100, cursor: None });
        assert_eq!(params("limit=1000&cursor=abc").page().unwrap().limit, 1000);
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=99999999999999999999", "cursor=%00"] {
            assert!(params(bad).page().is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_by_key_hold_everything_once_though_keys_go() {
        let all = || vec!["a", "b", "c", "d", "e"];
        let page = |cursor: Option<&str>| PageRequest { limit: 2, cursor: cursor.map(str::to_owned) };
        let first = Paged::by_key(all(), &page(None), |key| key);
        assert_eq!((&first.items, first.total, first.cursor.as_deref()), (&vec!["a", "b"], 5, Some("b")));
        let after_b_has_gone = Paged::by_key(vec!["a", "c", "d", "e"], &page(Some("b")), |key| key);
        assert_eq!(after_b_has_gone.items, ["c", "d"]);
        let last = Paged::by_key(all(), &page(Some("d")), |key| key);
        assert_eq!((&last.items, last.cursor.as_deref()), (&vec!["e"], None));
        let exact = Paged::by_key(vec!["a", "b"], &page(None), |key| key);
        assert_eq!(
            exact.answer("keys", |key| Value::from(*key)),
            serde_json::json!({
            "keys": ["a", "b"], "total": 2, "cursor": null, "has_more": false})
        );
    }

    #[test]
    fn a_body_s_members_are_the_same_filters() {
        let body = serde_json::json!({"event_type": "a", "status": null});
        let filter = Params::of_body(body.as_object().unwrap(), &FILTERS).unwrap().filter().unwrap();
        assert_eq!(filter.event_type.as_deref(), Some("a"));
        let wrong = serde_json::json!({"even_type": "a", "table": []});
        assert_eq!(Params::of_body(wrong.as_object().unwrap(), &FILTERS).unwrap_err().len(), 2);
    }
}
