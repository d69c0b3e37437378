//! `Prefer` (RFC 7240): what a caller would like, which is taken or not, and never refused.

use axum::response::Response;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The preferences that are known here, as far as they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prefer {
    /// `return`: whether the written rows are to be shown.
    show: Option<bool>,
    /// `resolution=merge-duplicates`: rows that are there are changed.
    pub merge: bool,
}

impl Prefer {
    /// Reads the headers; of a preference that is given twice the first counts.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok()) {
            for preference in value.split(',').map(|part| part.split(';').next().unwrap_or_default()) {
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                let value = value.trim().trim_matches('"').to_ascii_lowercase();
                match (name.trim().to_ascii_lowercase().as_str(), value.as_str()) {
                    ("return", "representation") => found.show = found.show.or(Some(true)),
                    ("return", "minimal") => found.show = found.show.or(Some(false)),
                    ("resolution", "merge-duplicates") => found.merge = true,
                    _ => {}
                }
            }
        }
        found
    }

    /// Those that go with a write that meets no duplicates.
    #[must_use]
    pub fn without_merge(self) -> Self {
        Self { merge: false, ..self }
    }

    /// Whether the written rows are to be shown.
    #[must_use]
    pub fn shows(&self) -> bool {
        self.show == Some(true)
    }

    /// Says which preferences were taken.
    pub fn note(&self, response: &mut Response) {
        let shown = self.show.map(|show| if show { "return=representation" } else { "return=minimal" });
        let merged = self.merge.then_some("resolution=merge-duplicates");
        let applied: Vec<&str> = shown.into_iter().chain(merged).collect();
        if let (false, Ok(value)) = (applied.is_empty(), HeaderValue::from_str(&applied.join(", "))) {
            response.headers_mut().insert(APPLIED, value);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_from_all_headers_and_unknown_ones_are_left() {
        let mut headers = HeaderMap::new();
        headers.append(PREFER, HeaderValue::from_static("respond-async, Return=\"representation\"; x=1"));
        headers.append(PREFER, HeaderValue::from_static("return=minimal,resolution=merge-duplicates"));
        let prefer = Prefer::read(&headers);
        assert!(prefer.shows() && prefer.merge);
        let mut response = Response::default();
        prefer.note(&mut response);
        assert_eq!(response.headers()[APPLIED], "return=representation, resolution=merge-duplicates");
        assert_eq!(Prefer::read(&HeaderMap::new()), Prefer::default());
    }
}
