//! The list of action types, their erasure to function pointers, and the core's view of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use triggerd_core::catalog::{Catalog, Place};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::{Failure, Outcome};

use super::{Action, Context, INTERNAL, KINDS, Use};

/// One action type with its types erased.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// For before-events only.
    pub before_only: bool,
    /// It looks at the event beyond what its templates insert.
    pub reads_event: bool,
    claims: fn(&str, &Value) -> bool,
    schema: fn() -> Value,
    check: fn(&Value) -> Vec<Mistake>,
    place: fn(&Value, &str) -> Place,
    uses: fn(&Value) -> Vec<Use>,
    ready: fn(&Context, Value) -> Result<Ready, Failure>,
}

/// An attempt whose settings are right, before it begins.
pub struct Ready {
    /// What in-flight attempts are counted for.
    pub destination: Option<String>,
    /// Begins it.
    pub run: Box<dyn FnOnce(Context) -> BoxFuture<'static, Outcome> + Send>,
}

/// All action types; the core's catalog.
pub struct Registry {
    kinds: &'static [Kind],
    by_name: HashMap<&'static str, usize>,
    schemas: Vec<Value>,
}

static BUILT_IN: LazyLock<Registry> = LazyLock::new(|| Registry::of(KINDS));

impl Kind {
    /// Erases `A`.
    #[must_use]
    pub const fn of<A: Action>() -> Self {
        Self {
            name: A::KIND,
            aliases: A::ALIASES,
            before_only: A::BEFORE_ONLY,
            reads_event: A::READS_EVENT,
            claims: A::claims,
            schema: || schemars::schema_for!(A::Config).to_value(),
            check: A::check,
            place: A::place,
            uses: A::uses,
            ready: |cx, mut settings| {
                // Null stays in its place, so that a setting that is required is still there.
                let whole = A::WHOLE.and_then(|name| settings.get_mut(name)).map(std::mem::take);
                let mut config: A::Config = serde_json::from_value(settings)
                    .map_err(|e| Failure::new("CONFIG_INVALID", format!("the rendered settings are not valid: {e}")))?;
                if let (Some(value), Some(place)) = (whole, A::whole(&mut config)) {
                    *place = value;
                }
                let destination = A::destination(cx, &config);
                Ok(Ready { destination, run: Box::new(move |cx| Box::pin(A::run(cx, config))) })
            },
        }
    }

    /// The JSON Schema of its settings.
    #[must_use]
    pub fn schema(&self) -> Value {
        (self.schema)()
    }
}

impl Registry {
    /// The action types that this program brings.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    fn of(kinds: &'static [Kind]) -> Self {
        let by_name = kinds.iter().enumerate().map(|(index, kind)| (kind.name, index)).collect();
        Self { kinds, by_name, schemas: kinds.iter().map(Kind::schema).collect() }
    }

    /// All of them.
    #[must_use]
    pub fn kinds(&self) -> &'static [Kind] {
        self.kinds
    }

    /// The JSON Schemas of all settings by kind.
    #[must_use]
    pub fn schemas(&self) -> Map<String, Value> {
        self.kinds.iter().zip(&self.schemas).map(|(kind, schema)| (kind.name.to_owned(), schema.clone())).collect()
    }

    /// Reads rendered settings: the attempt, ready to begin. One look-up; called for every attempt.
    pub fn ready(&self, kind: &str, cx: &Context, config: Value) -> Result<Ready, Failure> {
        let own = || INTERNAL.iter().find(|known| known.name == kind);
        let found = self.by_name.get(kind).map(|index| &self.kinds[*index]).or_else(own);
        let found = found
            .ok_or_else(|| Failure::new("CONFIG_INVALID", format!("this server knows no action type `{kind}`")))?;
        (found.ready)(cx, config)
    }

    /// The resources that unrendered settings of `kind` name by a literal tag.
    #[must_use]
    pub fn uses(&self, kind: &str, config: &Value) -> Vec<Use> {
        self.named(kind).map(|index| (self.kinds[index].uses)(config)).unwrap_or_default()
    }

    fn named(&self, kind: &str) -> Option<usize> {
        self.by_name.get(kind).copied()
    }
}

impl Catalog for Registry {
    fn kinds(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.kinds.iter().map(|kind| kind.name).collect();
        for alias in self.kinds.iter().flat_map(|kind| kind.aliases) {
            if !names.contains(alias) {
                names.push(alias);
            }
        }
        names
    }

    fn canonical(&self, kind: &str, config: &Value) -> Option<&'static str> {
        if let Some(index) = self.named(kind) {
            return Some(self.kinds[index].name);
        }
        let claimed = self.kinds.iter().find(|known| known.aliases.contains(&kind) && (known.claims)(kind, config));
        claimed.map(|known| known.name)
    }

    fn check(&self, kind: &str, config: &Value) -> Vec<Mistake> {
        let Some(index) = self.named(kind) else { return Vec::new() };
        let mut found = triggerd_core::schema::check(&self.schemas[index], config);
        if found.is_empty() {
            found = (self.kinds[index].check)(config);
        }
        found
    }

    fn place(&self, kind: &str, config: &Value, pointer: &str) -> Place {
        self.named(kind).map_or(Place::Plain, |index| (self.kinds[index].place)(config, pointer))
    }

    fn reads_event(&self, kind: &str, _config: &Value) -> bool {
        self.named(kind).is_none_or(|index| self.kinds[index].reads_event)
    }

    fn before_only(&self, kind: &str) -> bool {
        self.named(kind).is_some_and(|index| self.kinds[index].before_only)
    }
}

/// The catalog of triggers that this program makes itself: its own types, and no others.
pub struct Internal;

impl Catalog for Internal {
    fn kinds(&self) -> Vec<&'static str> {
        INTERNAL.iter().map(|kind| kind.name).collect()
    }

    fn canonical(&self, kind: &str, _config: &Value) -> Option<&'static str> {
        INTERNAL.iter().find(|known| known.name == kind).map(|known| known.name)
    }

    fn check(&self, _kind: &str, _config: &Value) -> Vec<Mistake> {
        Vec::new()
    }

    fn place(&self, _kind: &str, _config: &Value, _pointer: &str) -> Place {
        Place::Plain
    }

    fn reads_event(&self, _kind: &str, _config: &Value) -> bool {
        true
    }

    fn before_only(&self, _kind: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// A file in `actions/` that no kind's family is named after was written and never listed.
    #[test]
    fn every_file_of_this_folder_is_listed() {
        let support = ["mod", "context", "registry", "guest_services", "notification", "recipients", "trace", "uses"];
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/actions");
        let families: Vec<&str> = KINDS.iter().chain(INTERNAL).map(|kind| family(kind.name)).collect();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(support.contains(&stem.as_str()) || families.contains(&stem.as_str()), "{stem} is not in KINDS");
        }
        for family in families {
            let file = std::path::Path::new(dir).join(format!("{family}.rs"));
            assert!(file.exists() || file.with_extension("").is_dir(), "{family} has no file");
        }
    }

    /// The file that a kind is in.
    fn family(kind: &'static str) -> &'static str {
        match kind {
            "notification.callback" => "callback",
            "notification.email" => "email",
            "notification.push" => "push",
            "notification.sms" => "sms",
            "event.emit" => "emit",
            other => other.split_once('.').map_or(other, |(family, _)| family),
        }
    }

    #[test]
    fn names_are_unique_and_aliases_mean_one_kind() {
        let registry = Registry::built_in();
        assert_eq!(registry.by_name.len(), KINDS.len());
        let canonical = |kind: &str, config: Value| registry.canonical(kind, &config);
        assert_eq!(canonical("CUSTOM_HTTP", json!({"method": "put"})), Some("http.put"));
        assert_eq!(canonical("CUSTOM_HTTP", json!({})), Some("http.post"));
        assert_eq!(canonical("http.get", json!({})), Some("http.get"));
        assert_eq!(canonical("http.got", json!({})), None);
        assert!(registry.before_only("record.set") && !registry.before_only("http.get"));
    }

    #[test]
    fn what_this_program_makes_itself_nobody_can_write() {
        let registry = Registry::built_in();
        assert_eq!(registry.canonical("sync.apply", &json!({})), None);
        assert!(!Catalog::kinds(registry).contains(&"sync.apply"));
        assert_eq!(Internal.canonical("http.post", &json!({})), None);
    }

    #[test]
    fn every_schema_is_an_object_that_refuses_unknown_fields() {
        for (kind, schema) in Registry::built_in().schemas() {
            assert_eq!(schema["type"], "object", "{kind}");
            assert_eq!(schema["additionalProperties"], json!(false), "{kind}");
        }
    }
}
