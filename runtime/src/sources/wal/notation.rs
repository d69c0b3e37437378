//! PostgreSQL's notations for arrays and rows.
//!
//! Source: PostgreSQL's sections "Array Input and Output Syntax" and "Composite Type Input and Output Syntax".

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;
use triggerd_core::json::Error;

use super::kind::Kind;
use super::value;

/// The most dimensions that an array has (`MAXDIM`).
const MAX_DIMENSIONS: usize = 6;

/// `{1,NULL,"a b"}`, `{{1,2},{3,4}}`, `[0:1]={1,2}`; `None` where it is no array.
pub(super) fn array(text: &str, element: &Kind, between: char, refused: &mut Option<Error>) -> Option<Value> {
    let body = match text.starts_with('[') {
        // Where the first value is not number 1: JSON's arrays know no such thing.
        true => text.split_once('=')?.1,
        false => text,
    };
    let mut rest = body.chars().peekable();
    let made = dimension(&mut rest, element, between, MAX_DIMENSIONS, refused)?;
    rest.next().is_none().then_some(made)
}

fn dimension(
    rest: &mut Peekable<Chars<'_>>,
    element: &Kind,
    between: char,
    depth: usize,
    refused: &mut Option<Error>,
) -> Option<Value> {
    rest.next_if_eq(&'{')?;
    let mut items = Vec::new();
    if rest.next_if_eq(&'}').is_some() {
        return Some(Value::Array(items));
    }
    loop {
        items.push(match rest.peek()? {
            '{' if depth > 0 => dimension(rest, element, between, depth - 1, refused)?,
            '"' => value::of(element, &quoted(rest)?, refused),
            _ => match bare(rest, between)?.as_str() {
                "NULL" => Value::Null,
                text => value::of(element, text, refused),
            },
        });
        match rest.next()? {
            '}' => return Some(Value::Array(items)),
            other if other == between => {}
            _ => return None,
        }
    }
}

/// A text in quotes, in which backslashes stand before quotes and backslashes.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    rest.next_if_eq(&'"')?;
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(rest.next()?),
            other => text.push(other),
        }
    }
}

fn bare(rest: &mut Peekable<Chars<'_>>, between: char) -> Option<String> {
    let mut text = String::new();
    while let Some(next) = rest.next_if(|next| *next != between && *next != '}') {
        if matches!(next, '{' | '"') {
            return None;
        }
        text.push(next);
    }
    (!text.is_empty()).then_some(text)
}

/// `(1,"a ""b""",)`: what stands in its fields, nothing being NULL; `None` where it is no row.
pub(super) fn row(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.strip_prefix('(')?.chars().peekable();
    let mut fields = Vec::new();
    // A row of no fields at all is `()`, which also is one of a single NULL; the latter is what tables hold.
    loop {
        let (mut field, mut quotes) = (None::<String>, false);
        let end = loop {
            match rest.next()? {
                '"' if quotes && rest.next_if_eq(&'"').is_some() => field.get_or_insert_default().push('"'),
                '"' => {
                    quotes = !quotes;
                    field.get_or_insert_default();
                }
                '\\' => field.get_or_insert_default().push(rest.next()?),
                end @ (',' | ')') if !quotes => break end,
                other => field.get_or_insert_default().push(other),
            }
        };
        fields.push(field);
        if end == ')' {
            return rest.next().is_none().then_some(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arrays_are_read_whatever_they_hold() {
        let text = Kind::Text;
        for (written, wanted) in [
            ("{}", json!([])),
            ("{a,NULL,\"NULL\",\"\"}", json!(["a", null, "NULL", ""])),
            (r#"{"a,b","c}","\"\\"}"#, json!(["a,b", "c}", "\"\\"])),
            ("{{a,b},{c,d}}", json!([["a", "b"], ["c", "d"]])),
            ("[0:1][2:2]={{a},{b}}", json!([["a"], ["b"]])),
        ] {
            assert_eq!(array(written, &text, ',', &mut None), Some(wanted), "{written}");
        }
        assert_eq!(
            array("{(1,2),(0,0);(3,4),(2,2)}", &text, ';', &mut None),
            Some(json!(["(1,2),(0,0)", "(3,4),(2,2)"]))
        );
        for bad in ["", "{", "{a", "{a,}", "{a}b", "{\"a}", "a", "[1:2]", "{{{{{{{{{{a}}}}}}}}}}"] {
            assert_eq!(array(bad, &text, ',', &mut None), None, "{bad}");
        }
    }

    #[test]
    fn rows_are_read_whatever_they_hold() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(row(r#"(1,"a ""b"" \\",,"")"#), Some(vec![some("1"), some("a \"b\" \\"), None, some("")]));
        for bad in ["", "(", "(1", "(1)2", "(\"1)"] {
            assert_eq!(row(bad), None, "{bad}");
        }
    }
}
