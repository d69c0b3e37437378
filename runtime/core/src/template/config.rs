//! An action's settings with every template string compiled.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::MAX_OUTPUT;
use super::budget::Budget;
use super::compiled::Template;
use super::data::Data;
use super::found::weight;
use super::scope::Scope;
use crate::capture::Columns;
use crate::catalog::Place;
use crate::mistake::{Mistake, join};

/// An action's settings with every template string compiled.
#[derive(Debug)]
pub struct TemplatedConfig {
    root: Part,
    secrets: Vec<String>,
    /// What the settings without templates take of the largest output.
    fixed: usize,
}

/// Rendered settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Rendered {
    /// The settings.
    pub config: Value,
    /// Placeholders without a value: `{pointer, detail}` in words.
    pub warnings: Vec<Mistake>,
}

/// A value of the settings.
#[derive(Debug)]
enum Part {
    /// Without any template in it.
    Fixed(Value),
    /// A template string, at this pointer of the settings.
    Template(Box<Template>, String),
    Array(Vec<Part>),
    Object(Vec<(String, Part)>),
}

impl TemplatedConfig {
    /// Compiles every string of `config` (keys are never templates). `place` says, for a JSON pointer into
    /// `config`, where the value ends up. Pointers of mistakes begin with `pointer`.
    pub fn compile(
        config: &Value,
        pointer: &str,
        place: &dyn Fn(&str) -> Place,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let mut compiler = Compiler { prefix: pointer, place, mistakes, secrets: BTreeSet::new(), fixed: 0 };
        let before = compiler.mistakes.len();
        let root = compiler.part(config, "");
        let (secrets, fixed) = (compiler.secrets.into_iter().collect(), compiler.fixed);
        (mistakes.len() == before).then_some(Self { root, secrets, fixed })
    }

    /// Renders all of it. `strict`: a placeholder without a value is an error. Errors name the place
    /// (pointer within the settings) and the placeholder.
    pub fn render(&self, scope: &Scope<'_>, strict: bool) -> Result<Rendered, Mistake> {
        if let Part::Fixed(config) = &self.root {
            return Ok(Rendered { config: config.clone(), warnings: Vec::new() });
        }
        let budget = Budget::new();
        budget.write(self.fixed).map_err(|detail| Mistake::new("", detail))?;
        let mut rendering = Rendering { data: &Data::new(*scope), budget: &budget, strict, warnings: Vec::new() };
        let config = rendering.part(&self.root)?;
        Ok(Rendered { config, warnings: rendering.warnings })
    }

    /// Adds the columns of a changed row that it looks at.
    pub fn columns(&self, columns: &mut Columns) {
        self.root.columns(columns);
    }

    /// The names of the secrets it uses.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }
}

impl Part {
    fn columns(&self, columns: &mut Columns) {
        match self {
            Self::Fixed(_) => {}
            Self::Template(template, _) => template.columns(columns),
            Self::Array(items) => items.iter().for_each(|item| item.columns(columns)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.columns(columns)),
        }
    }
}

struct Compiler<'c> {
    prefix: &'c str,
    place: &'c dyn Fn(&str) -> Place,
    mistakes: &'c mut Vec<Mistake>,
    secrets: BTreeSet<String>,
    fixed: usize,
}

impl Compiler<'_> {
    fn part(&mut self, value: &Value, pointer: &str) -> Part {
        match value {
            _ if !has_template(value) => {
                self.fixed += weight(value, MAX_OUTPUT);
                Part::Fixed(value.clone())
            }
            Value::Array(items) => {
                let part = |(i, item): (usize, &Value)| self.part(item, &format!("{pointer}/{i}"));
                Part::Array(items.iter().enumerate().map(part).collect())
            }
            Value::Object(members) => {
                let part = |(key, member): (&String, &Value)| (key.clone(), self.part(member, &join(pointer, key)));
                Part::Object(members.iter().map(part).collect())
            }
            Value::String(source) => self.template(source, pointer),
            other => Part::Fixed(other.clone()),
        }
    }

    fn template(&mut self, source: &str, pointer: &str) -> Part {
        match Template::compile(source, (self.place)(pointer)) {
            Ok(template) => {
                self.secrets.extend(template.secrets().iter().cloned());
                Part::Template(Box::new(template), pointer.to_owned())
            }
            Err(detail) => {
                self.mistakes.push(Mistake::new(format!("{}{pointer}", self.prefix), format!("template: {detail}")));
                Part::Fixed(Value::Null)
            }
        }
    }
}

fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(members) => members.values().any(has_template),
        _ => false,
    }
}

struct Rendering<'r> {
    data: &'r Data<'r>,
    budget: &'r Budget,
    strict: bool,
    warnings: Vec<Mistake>,
}

impl Rendering<'_> {
    fn part(&mut self, part: &Part) -> Result<Value, Mistake> {
        Ok(match part {
            Part::Fixed(value) => value.clone(),
            Part::Array(items) => Value::Array(items.iter().map(|item| self.part(item)).collect::<Result<_, _>>()?),
            Part::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for (key, member) in members {
                    object.insert(key.clone(), self.part(member)?);
                }
                Value::Object(object)
            }
            Part::Template(template, pointer) => {
                let mut missing = Vec::new();
                let rendered = template.render_within(self.data, self.budget, pointer, self.strict, &mut missing);
                let value = rendered.map_err(|detail| Mistake::new(pointer.clone(), detail))?;
                let warning =
                    |placeholder| Mistake::new(pointer.clone(), format!("`{{{{{placeholder}}}}}` has no value"));
                self.warnings.extend(missing.into_iter().map(warning));
                value
            }
        })
    }
}
