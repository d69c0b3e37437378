//! A compiled template: text, insertions and blocks, with every name bound.

use std::fmt;

use serde_json::Value;

use super::helper::Helper;
use super::reference::Reference;

/// One piece of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// `{{expr}}`
    Insert(Insert),
    /// `{{#if}}` and `{{#unless}}` (with its branches swapped), and a comparison used as a block.
    If { condition: Expr, include_zero: bool, then: Vec<Node>, otherwise: Vec<Node> },
    /// `{{#each}}`
    Each { over: Expr, body: Vec<Node>, otherwise: Option<Vec<Node>> },
    /// `{{#with}}`
    With { value: Expr, body: Vec<Node>, otherwise: Option<Vec<Node>> },
}

/// A value put into the text.
#[derive(Debug)]
pub(super) struct Insert {
    /// The value.
    pub expr: Expr,
    /// `{{{expr}}}`: not escaped in HTML.
    pub raw: bool,
    /// What stands between the braces, for messages.
    pub label: String,
}

/// Something with a value.
#[derive(Debug)]
pub(super) enum Expr {
    /// `5`, `"text"`, `true`, `null`
    Literal(Value),
    /// `record.total`
    Reference(Reference),
    /// `lower record.name`
    Call(Box<Call>),
}

/// A helper with its arguments.
#[derive(Debug)]
pub(super) struct Call {
    /// The helper.
    pub helper: &'static Helper,
    /// Its arguments by position.
    pub args: Vec<Expr>,
    /// Its arguments by name.
    pub options: Vec<(String, Expr)>,
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write!(f, "{value}"),
            Self::Reference(reference) => f.write_str(&reference.text),
            Self::Call(call) => write!(f, "{call}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.helper.name)?;
        for arg in &self.args {
            f.write_str(" ")?;
            nested(arg, f)?;
        }
        for (name, value) in &self.options {
            write!(f, " {name}=")?;
            nested(value, f)?;
        }
        Ok(())
    }
}

fn nested(expr: &Expr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match expr {
        Expr::Call(call) => write!(f, "({call})"),
        other => write!(f, "{other}"),
    }
}
