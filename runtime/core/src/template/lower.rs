//! From the parser's elements to our nodes: every helper, placeholder and argument is checked and bound here.

use std::collections::BTreeSet;

use handlebars::template::{BlockParam, HelperTemplate, Parameter, Template as Parsed, TemplateElement};

use serde_json::Value;

use super::helper::{self, HELPERS, Helper};
use super::node::{Call, Expr, Insert, Node};
use super::reference::{Level, Reference, Start};
use super::root::Root;
use super::scan::scan;
use crate::mistake::nearest;

/// The blocks that are no helpers.
const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];

/// A template's nodes, and the secrets they use.
pub(super) struct Lowered {
    pub nodes: Vec<Node>,
    pub secrets: BTreeSet<String>,
}

/// Compiles `source`; the error is a sentence with line and column.
pub(super) fn lower(source: &str) -> Result<Lowered, String> {
    let scanned = scan(source)?;
    let parsed = Parsed::compile(&scanned.text).map_err(|e| {
        let reason = e.reason().to_string();
        let reason = reason.strip_prefix("invalid handlebars syntax: ").unwrap_or(&reason).trim();
        match e.pos() {
            Some((line, column)) => scanned.at(line, column, reason),
            None => reason.to_owned(),
        }
    })?;
    let mut lowering = Lowering { levels: Vec::new(), at: (1, 1), secrets: BTreeSet::new() };
    let nodes = lowering.nodes(&parsed).map_err(|detail| scanned.at(lowering.at.0, lowering.at.1, &detail))?;
    Ok(Lowered { nodes, secrets: lowering.secrets })
}

struct Lowering {
    levels: Vec<Level>,
    /// Line and column of the element at hand, as the parser counts.
    at: (usize, usize),
    secrets: BTreeSet<String>,
}

impl Lowering {
    fn nodes(&mut self, template: &Parsed) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::with_capacity(template.elements.len());
        for (i, element) in template.elements.iter().enumerate() {
            // The branches of `else if` have no places of their own.
            if let Some(mapping) = template.mapping.get(i) {
                self.at = (mapping.0, mapping.1);
            }
            match element {
                TemplateElement::RawString(text) => push_text(&mut nodes, text),
                TemplateElement::Comment(_) => {}
                TemplateElement::Expression(parsed) => nodes.push(self.insert(parsed, false)?),
                TemplateElement::HtmlExpression(parsed) => nodes.push(self.insert(parsed, true)?),
                TemplateElement::HelperBlock(parsed) => nodes.push(self.block(parsed)?),
                _ => return Err("partials and decorators are not supported".to_owned()),
            }
        }
        Ok(nodes)
    }

    fn insert(&mut self, parsed: &HelperTemplate, raw: bool) -> Result<Node, String> {
        let expr = self.expression(parsed)?;
        let label = expr.to_string();
        Ok(Node::Insert(Insert { expr, raw, label }))
    }

    fn block(&mut self, parsed: &HelperTemplate) -> Result<Node, String> {
        let name = parsed.name.as_name().unwrap_or_default();
        let at = self.at;
        let helper = helper::find(name).filter(|helper| helper.verdict);
        if parsed.block_param.is_some() && !matches!(name, "each" | "with") {
            return Err(format!("`{name}` takes no `as |…|`"));
        }
        let condition = match (name, helper) {
            ("if" | "unless", _) => self.block_arguments(parsed, name, &["includeZero"])?,
            ("each" | "with", _) => self.block_arguments(parsed, name, &[])?,
            (_, Some(helper)) => self.call(helper, parsed)?,
            _ => return Err(unknown_block(name)),
        };
        let body = self.body(parsed, name)?;
        self.at = at;
        let otherwise = parsed.inverse.as_ref().map(|inverse| self.nodes(inverse)).transpose()?;
        self.at = at;
        Ok(match name {
            "each" => Node::Each { over: condition, body, otherwise },
            "with" => Node::With { value: condition, body, otherwise },
            _ => {
                let include_zero = match parsed.hash.get("includeZero") {
                    None => false,
                    Some(Parameter::Literal(Value::Bool(include))) => *include,
                    Some(_) => return Err("`includeZero` is `true` or `false`".to_owned()),
                };
                let otherwise = otherwise.unwrap_or_default();
                let (then, otherwise) = if name == "unless" { (otherwise, body) } else { (body, otherwise) };
                Node::If { condition, include_zero, then, otherwise }
            }
        })
    }

    fn block_arguments(&mut self, parsed: &HelperTemplate, name: &str, options: &[&str]) -> Result<Expr, String> {
        check_options(name, options, parsed)?;
        match parsed.params.as_slice() {
            [condition] => self.parameter(condition),
            _ => Err(format!("`{{{{#{name}}}}}` takes one value, not {}", parsed.params.len())),
        }
    }

    /// The nodes inside a block, which for `each` and `with` stand one level further in.
    fn body(&mut self, parsed: &HelperTemplate, name: &str) -> Result<Vec<Node>, String> {
        let Some(template) = &parsed.template else {
            return Ok(Vec::new());
        };
        if !matches!(name, "each" | "with") {
            return self.nodes(template);
        }
        let named = |parameter: &Parameter| parameter.as_name().map(str::to_owned);
        let (item, key) = match &parsed.block_param {
            Some(BlockParam::Single(item)) => (named(item), None),
            Some(BlockParam::Pair((item, key))) => (named(item), named(key)),
            _ => (None, None),
        };
        self.levels.push(Level { each: name == "each", item, key });
        let nodes = self.nodes(template);
        self.levels.pop();
        nodes
    }

    /// `name`, `path`, `(…)` or `helper argument …`.
    fn expression(&mut self, parsed: &HelperTemplate) -> Result<Expr, String> {
        let alone = parsed.params.is_empty() && parsed.hash.is_empty();
        let name = match &parsed.name {
            Parameter::Subexpression(_) | Parameter::Literal(_) if alone => {
                return self.parameter(&parsed.name);
            }
            other => other.as_name().ok_or("a helper's name must be written out")?,
        };
        match helper::find(name) {
            // Alone, the name of a helper that needs arguments is a member of the item: `{{number}}` of an address.
            Some(helper) if !alone || helper.args.0 == 0 || self.levels.is_empty() => self.call(helper, parsed),
            _ if alone => self.reference(name),
            _ => Err(unknown_helper(name)),
        }
    }

    fn reference(&mut self, text: &str) -> Result<Expr, String> {
        let reference = Reference::resolve(text, &self.levels)?;
        let at_root = match &reference.start {
            Start::Root(root) => Some(root),
            Start::Block { otherwise, .. } => match otherwise.as_deref() {
                Some(Reference { start: Start::Root(root), .. }) => Some(root),
                _ => None,
            },
        };
        if let Some(Root::Secret(name)) = at_root {
            self.secrets.insert(name.clone());
        }
        Ok(Expr::Reference(reference))
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<Expr, String> {
        match parameter {
            Parameter::Literal(value) => Ok(Expr::Literal(value.clone())),
            Parameter::Subexpression(sub) => match sub.as_element() {
                TemplateElement::Expression(parsed) => self.expression(parsed),
                _ => Err("only a helper's call can stand in parentheses".to_owned()),
            },
            Parameter::Path(_) | Parameter::Name(_) => self.reference(parameter.as_name().unwrap_or_default()),
            _ => Err("this kind of argument is not supported".to_owned()),
        }
    }

    fn call(&mut self, helper: &'static Helper, parsed: &HelperTemplate) -> Result<Expr, String> {
        let name = helper.name;
        let (least, most) = helper.args;
        let count = parsed.params.len();
        if count < least || count > most {
            let wanted = match (least, most) {
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            return Err(format!("helper `{name}` takes {wanted} arguments, not {count}"));
        }
        check_options(name, helper.options, parsed)?;
        let args = parsed.params.iter().map(|param| self.parameter(param)).collect::<Result<_, _>>()?;
        let mut named: Vec<_> = parsed.hash.iter().collect();
        // The parser keeps them in no order; messages and rendering want the same one every time.
        named.sort_by_key(|(key, _)| key.as_str());
        let options = named
            .into_iter()
            .map(|(key, value)| Ok((key.clone(), self.parameter(value)?)))
            .collect::<Result<_, String>>()?;
        Ok(Expr::Call(Box::new(Call { helper, args, options })))
    }
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    match nodes.last_mut() {
        _ if text.is_empty() => {}
        Some(Node::Text(before)) => before.push_str(text),
        _ => nodes.push(Node::Text(text.to_owned())),
    }
}

fn check_options(name: &str, known: &[&str], parsed: &HelperTemplate) -> Result<(), String> {
    let mut given: Vec<&String> = parsed.hash.keys().collect();
    given.sort();
    match given.into_iter().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(match nearest(key, known.iter().copied()) {
            Some(near) => format!("`{name}` has no argument `{key}`, did you mean `{near}`?"),
            None => format!("`{name}` has no argument `{key}`"),
        }),
    }
}

fn unknown_helper(name: &str) -> String {
    match nearest(name, HELPERS.iter().map(|helper| helper.name)) {
        Some(near) => format!("unknown helper `{name}`, did you mean `{near}`?"),
        None => {
            let known = HELPERS.iter().map(|helper| format!("`{}`", helper.name)).collect::<Vec<_>>().join(", ");
            format!("unknown helper `{name}`; known are {known}")
        }
    }
}

fn unknown_block(name: &str) -> String {
    if helper::find(name).is_some() {
        return format!("helper `{name}` gives a value; write `{{{{{name} …}}}}` without `#`");
    }
    let verdicts = HELPERS.iter().filter(|helper| helper.verdict).map(|helper| helper.name);
    match nearest(name, BLOCKS.into_iter().chain(verdicts)) {
        Some(near) => format!("unknown block `{name}`, did you mean `{near}`?"),
        None => format!("unknown block `{name}`; known are `if`, `unless`, `each`, `with` and the comparisons"),
    }
}
