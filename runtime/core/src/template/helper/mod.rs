//! The helpers, one file each. A new one is a new file, its `mod` line and its line in `HELPERS`.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use super::budget::Budget;
use super::decimal::Decimal;
use super::found::{Found, weight};
use super::scope::Scope;

mod arithmetic;
mod base64;
mod compare;
mod date;
mod default;
mod hmac_sha256;
mod join;
mod json;
mod length;
mod logic;
mod lookup;
mod lower;
mod now;
mod number;
mod sha256;
mod trim;
mod truncate;
mod upper;
mod urlencode;
mod uuid;

/// Every helper there is.
pub(super) static HELPERS: [&Helper; 30] = [
    &arithmetic::ADD,
    &arithmetic::DIV,
    &arithmetic::MUL,
    &arithmetic::SUB,
    &base64::BASE64,
    &compare::EQ,
    &compare::GT,
    &compare::GTE,
    &compare::LT,
    &compare::LTE,
    &compare::NE,
    &date::DATE,
    &default::DEFAULT,
    &hmac_sha256::HMAC_SHA256,
    &join::JOIN,
    &json::JSON,
    &length::LENGTH,
    &logic::AND,
    &logic::NOT,
    &logic::OR,
    &lookup::LOOKUP,
    &lower::LOWER,
    &now::NOW,
    &number::NUMBER,
    &sha256::SHA256,
    &trim::TRIM,
    &truncate::TRUNCATE,
    &upper::UPPER,
    &urlencode::URLENCODE,
    &uuid::UUID,
];

/// What a helper is.
pub(super) struct Helper {
    /// Its name in templates.
    pub name: &'static str,
    /// How many arguments it takes, least and most.
    pub args: (usize, usize),
    /// The names of its named arguments.
    pub options: &'static [&'static str],
    /// What missing and null values do to it.
    pub absent: Absent,
    /// Whether it gives true or false, and so can stand as a block: `{{#eq a b}}`.
    pub verdict: bool,
    /// Called with the arguments' values.
    pub run: Run,
}

/// The function behind a helper; its error is what is wrong, without the helper's name.
pub(super) type Run = for<'v> fn(&Call<'_, 'v>) -> Result<Found<'v>, String>;

/// What a missing or null value does to a helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Absent {
    /// A missing argument makes the result missing (with a warning), a null first one makes it null.
    Passes,
    /// The helper takes it as it is, without a warning.
    Taken,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The helper called `name`.
pub(super) fn find(name: &str) -> Option<&'static Helper> {
    HELPERS.iter().copied().find(|helper| helper.name == name)
}

/// One call of a helper.
pub(super) struct Call<'c, 'v> {
    /// The arguments by position.
    pub args: &'c [Found<'v>],
    /// The arguments by name.
    pub options: &'c [(&'c str, Found<'v>)],
    /// What is bounded.
    pub budget: &'c Budget,
    /// The instant, the delivery.
    pub scope: &'c Scope<'v>,
    /// The string being rendered, as a pointer into the settings.
    pub pointer: &'c str,
    /// How many `uuid`s the string has had.
    pub uuids: &'c Cell<u32>,
}

impl<'c, 'v> Call<'c, 'v> {
    /// The argument at `index` or called `name`.
    pub fn get(&self, index: usize, name: &str) -> Option<&'c Found<'v>> {
        self.args.get(index).or_else(|| self.option(name))
    }

    /// The argument called `name`.
    pub fn option(&self, name: &str) -> Option<&'c Found<'v>> {
        self.options.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The first argument.
    pub fn first(&self) -> &'c Found<'v> {
        &self.args[0]
    }

    /// A value as text, charged as work.
    pub fn text(&self, found: &'c Found<'_>) -> Result<Cow<'c, str>, String> {
        let text = found.to_text(super::MAX_OUTPUT).ok_or("a value is too large to become text")?;
        self.budget.work(text.len())?;
        Ok(text)
    }

    /// The first argument as text.
    pub fn first_text(&self) -> Result<Cow<'c, str>, String> {
        self.text(self.first())
    }

    /// The text of the argument at `index` or called `name`.
    pub fn text_at(&self, index: usize, name: &str) -> Result<Option<Cow<'c, str>>, String> {
        self.get(index, name).map(|found| self.text(found)).transpose()
    }

    /// A number, or a string that is one.
    pub fn number(&self, found: &Found<'_>) -> Result<Decimal, String> {
        let text = found.as_number().map(|number| number.as_str()).or_else(|| found.as_str());
        self.budget.work(text.map_or(0, str::len))?;
        match text {
            Some(text) => {
                Decimal::parse(text).ok_or_else(|| format!("{} is no number of at most 38 digits", found.kind()))
            }
            None => Err(format!("wants a number, got {}", found.kind())),
        }
    }

    /// A whole number from 0 to `most`, as the argument at `index` or called `name`.
    pub fn count(&self, index: usize, name: &str, most: usize) -> Result<Option<usize>, String> {
        let Some(found) = self.get(index, name) else {
            return Ok(None);
        };
        let count = self.number(found)?.to_whole().and_then(|whole| usize::try_from(whole).ok());
        match count.filter(|count| *count <= most) {
            Some(count) => Ok(Some(count)),
            None => Err(format!("`{name}` wants a whole number from 0 to {most}")),
        }
    }

    /// Charges looking through a whole value.
    pub fn weigh(&self, found: &Found<'_>) -> Result<(), String> {
        self.budget.work(match found.as_str() {
            Some(text) => text.len(),
            None => found.json().map_or(0, |value| weight(value, super::MAX_OUTPUT)),
        })
    }
}
