//! The walk through schema and settings together.
//!
//! It knows the part of draft 2020-12 that schemars writes for plain structs, enums, options, maps and lists.
//! Whatever else a schema says is left to the check after rendering, which is serde's.

use serde_json::{Map, Value};

use crate::mistake::{Mistake, join, kind};

/// References that lead from one to the next without going down in the settings end here.
const MAX_DEPTH: usize = 128;

/// Mistakes in `config` by `schema` (as schemars writes it), with pointers from the settings' root.
/// Unknown keys name the nearest known one; a string that holds `{{` fits any type.
#[must_use]
pub fn check(schema: &Value, config: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    Check { root: schema, depth: 0 }.value(schema, config, "", &mut found);
    found
}

#[derive(Clone, Copy)]
struct Check<'s> {
    root: &'s Value,
    depth: usize,
}

impl<'s> Check<'s> {
    fn value(self, schema: &'s Value, value: &Value, pointer: &str, found: &mut Vec<Mistake>) {
        if is_template(value) || self.depth > MAX_DEPTH {
            return;
        }
        let below = Self { depth: self.depth + 1, ..self };
        let Value::Object(rules) = schema else {
            if schema == &Value::Bool(false) {
                found.push(Mistake::new(pointer, "must be left out"));
            }
            return;
        };
        if let Some(target) = rules.get("$ref").and_then(|reference| self.resolve(reference)) {
            below.value(target, value, pointer, found);
        }
        if let Some(types) = rules.get("type")
            && !type_fits(types, value)
        {
            found.push(Mistake::new(pointer, format!("must be {}, not {}", type_words(types), shown(value))));
            return;
        }
        check_constants(rules, value, pointer, found);
        for part in members(rules.get("allOf")) {
            below.value(part, value, pointer, found);
        }
        for name in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = rules.get(name) {
                below.any(branches, value, pointer, found);
            }
        }
        match value {
            Value::Object(fields) => below.object(rules, fields, pointer, found),
            Value::Array(list) => below.array(rules, list, pointer, found),
            Value::Number(number) => check_bounds(rules, number.as_f64(), pointer, found),
            Value::String(text) => {
                check_length(rules, ["minLength", "maxLength"], text.chars().count(), "characters", pointer, found)
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(
        self,
        rules: &'s Map<String, Value>,
        fields: &Map<String, Value>,
        pointer: &str,
        found: &mut Vec<Mistake>,
    ) {
        let properties = rules.get("properties").and_then(Value::as_object);
        for name in members(rules.get("required")).iter().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                found.push(Mistake::new(join(pointer, name), format!("`{name}` is required")));
            }
        }
        for (name, value) in fields {
            let at = join(pointer, name);
            match (properties.and_then(|known| known.get(name)), rules.get("additionalProperties")) {
                (Some(schema), _) => self.value(schema, value, &at, found),
                (None, Some(Value::Bool(false))) => {
                    let known = properties.into_iter().flat_map(|known| known.keys().map(String::as_str));
                    found.push(Mistake::unknown(at, "field", name, known));
                }
                (None, Some(schema)) => self.value(schema, value, &at, found),
                (None, None) => {}
            }
        }
        check_length(rules, ["minProperties", "maxProperties"], fields.len(), "entries", pointer, found);
    }

    fn array(self, rules: &'s Map<String, Value>, list: &[Value], pointer: &str, found: &mut Vec<Mistake>) {
        let tuple = members(rules.get("prefixItems"));
        for (index, value) in list.iter().enumerate() {
            if let Some(schema) = tuple.get(index).or(rules.get("items")) {
                self.value(schema, value, &format!("{pointer}/{index}"), found);
            }
        }
        check_length(rules, ["minItems", "maxItems"], list.len(), "members", pointer, found);
    }

    /// One branch has to fit. Where none does, the mistakes of the branch that was most likely meant are told.
    fn any(self, branches: &'s [Value], value: &Value, pointer: &str, found: &mut Vec<Mistake>) {
        let mut tries = Vec::new();
        for branch in branches {
            let mut mistakes = Vec::new();
            self.value(branch, value, pointer, &mut mistakes);
            if mistakes.is_empty() {
                return;
            }
            tries.push((self.resolved(branch), mistakes));
        }
        let constants: Vec<&str> = branches.iter().flat_map(|branch| constants(self.resolved(branch))).collect();
        if let (Value::String(text), false) = (value, constants.is_empty()) {
            found.push(Mistake::unknown(pointer, "value", text, constants));
            return;
        }
        if let Some(mistake) = self.unknown_tag(branches, value, pointer) {
            found.push(mistake);
            return;
        }
        let meant = tries
            .iter()
            .filter(|(branch, _)| branch.get("type").is_none_or(|types| type_fits(types, value)))
            .filter(|(branch, _)| branch.get("const").is_none() && branch.get("enum").is_none())
            .min_by_key(|(branch, mistakes)| (wrong_tags(branch, value), missing_keys(branch, value), mistakes.len()));
        if let Some((_, mistakes)) = meant {
            found.extend(mistakes.iter().cloned());
            return;
        }
        let mut wanted: Vec<String> =
            tries.iter().filter_map(|(branch, _)| branch.get("type")).map(type_words).collect();
        wanted.dedup();
        found.push(Mistake::new(pointer, format!("must be {}, not {}", wanted.join(" or "), shown(value))));
    }

    /// Where the branches are told apart by one field's constant, and the value has none of them there.
    fn unknown_tag(self, branches: &'s [Value], value: &Value, pointer: &str) -> Option<Mistake> {
        let fields = value.as_object()?;
        let properties = |branch: &'s Value| self.resolved(branch).get("properties")?.as_object();
        let is_constant = |(name, rules): (&'s String, &'s Value)| rules.get("const").map(|_| name);
        let tag = properties(branches.first()?)?.iter().find_map(is_constant)?;
        let of = |branch| properties(branch)?.get(tag)?.get("const")?.as_str();
        let known: Vec<&str> = branches.iter().map(of).collect::<Option<_>>()?;
        match fields.get(tag) {
            None => Some(Mistake::new(join(pointer, tag), format!("`{tag}` is required: {}", known.join(", ")))),
            Some(Value::String(text)) if is_template(&fields[tag]) || known.contains(&text.as_str()) => None,
            Some(Value::String(text)) => Some(Mistake::unknown(join(pointer, tag), "value", text, known)),
            Some(_) => None,
        }
    }

    fn resolve(self, reference: &Value) -> Option<&'s Value> {
        self.root.pointer(reference.as_str()?.strip_prefix('#')?)
    }

    /// The schema that a bare reference leads to.
    fn resolved(self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..MAX_DEPTH {
            match schema.get("$ref").and_then(|reference| self.resolve(reference)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }
}

fn is_template(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("{{"))
}

fn members(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How many of the keys that a branch demands are not there: variants of an enum are told apart by theirs.
fn missing_keys(branch: &Value, value: &Value) -> usize {
    members(branch.get("required")).iter().filter_map(Value::as_str).filter(|key| value.get(key).is_none()).count()
}

/// How many of a branch's constants are something else in the value.
fn wrong_tags(branch: &Value, value: &Value) -> usize {
    let properties = branch.get("properties").and_then(Value::as_object);
    let constants = properties.into_iter().flatten().filter_map(|(name, rules)| Some((name, rules.get("const")?)));
    constants.filter(|(name, constant)| value.get(name) != Some(constant)).count()
}

/// The strings that a schema allows, where it lists them.
fn constants(schema: &Value) -> Vec<&str> {
    let listed = members(schema.get("enum")).iter();
    schema.get("const").into_iter().chain(listed).filter_map(Value::as_str).collect()
}

fn check_constants(rules: &Map<String, Value>, value: &Value, pointer: &str, found: &mut Vec<Mistake>) {
    let allowed: Vec<&Value> = match (rules.get("const"), rules.get("enum")) {
        (Some(constant), _) => vec![constant],
        (None, Some(Value::Array(values))) => values.iter().collect(),
        _ => return,
    };
    if allowed.contains(&value) {
        return;
    }
    let texts: Vec<&str> = allowed.iter().filter_map(|value| value.as_str()).collect();
    found.push(match value {
        Value::String(text) if !texts.is_empty() => Mistake::unknown(pointer, "value", text, texts),
        _ => {
            let allowed = allowed.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ");
            Mistake::new(pointer, format!("must be one of {allowed}, not {}", shown(value)))
        }
    });
}

fn check_bounds(rules: &Map<String, Value>, number: Option<f64>, pointer: &str, found: &mut Vec<Mistake>) {
    let (Some(number), bound) = (number, |name| rules.get(name).and_then(Value::as_f64)) else { return };
    let broken = [
        bound("minimum").filter(|limit| number < *limit).map(|limit| format!("must be at least {limit}")),
        bound("exclusiveMinimum").filter(|limit| number <= *limit).map(|limit| format!("must be above {limit}")),
        bound("maximum").filter(|limit| number > *limit).map(|limit| format!("must be at most {limit}")),
        bound("exclusiveMaximum").filter(|limit| number >= *limit).map(|limit| format!("must be below {limit}")),
    ];
    found.extend(broken.into_iter().flatten().map(|detail| Mistake::new(pointer, format!("{detail}, not {number}"))));
}

fn check_length(
    rules: &Map<String, Value>,
    [least, most]: [&str; 2],
    length: usize,
    what: &str,
    pointer: &str,
    found: &mut Vec<Mistake>,
) {
    let bound = |name| rules.get(name).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
    if length == 0 && bound(least) == Some(1) {
        found.push(Mistake::new(pointer, "cannot be empty"));
    } else if let Some(limit) = bound(least).filter(|limit| length < *limit) {
        found.push(Mistake::new(pointer, format!("must have at least {limit} {what}, not {length}")));
    }
    if let Some(limit) = bound(most).filter(|limit| length > *limit) {
        found.push(Mistake::new(pointer, format!("must have at most {limit} {what}, not {length}")));
    }
}

fn type_fits(types: &Value, value: &Value) -> bool {
    match types {
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "number" => value.is_number(),
            // What serde reads into an integer: `1.0` and `1e3` are none.
            "integer" => value.is_i64() || value.is_u64(),
            _ => true,
        },
        Value::Array(names) => names.iter().any(|name| type_fits(name, value)),
        _ => true,
    }
}

fn type_words(types: &Value) -> String {
    let word = |name: &Value| match name.as_str().unwrap_or_default() {
        "boolean" => "true or false".to_owned(),
        "integer" => "a whole number".to_owned(),
        "array" => "an array".to_owned(),
        "object" => "an object".to_owned(),
        "null" => "null".to_owned(),
        other => format!("a {other}"),
    };
    match types {
        Value::Array(names) => {
            // That it may be null goes without saying: leaving it out is the same.
            let named = names.iter().filter(|name| name.as_str() != Some("null"));
            named.map(word).collect::<Vec<_>>().join(" or ")
        }
        name => word(name),
    }
}

/// Numbers and booleans as they are written, anything else by its kind.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => kind(other).to_owned(),
    }
}
