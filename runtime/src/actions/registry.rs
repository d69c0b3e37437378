//! The list of action types, their erasure to function pointers, and the core's view of them.

use futures_util::future::BoxFuture;
use serde_json::Value;
use triggerd_core::catalog::Place;
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::{Failure, Outcome};

use super::{Action, Context};

/// One action type with its types erased.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// For before-events only.
    pub before_only: bool,
    claims: fn(&str, &Value) -> bool,
    schema: fn() -> Value,
    check: fn(&Value) -> Vec<Mistake>,
    place: fn(&Value, &str) -> Place,
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
pub struct Registry {}

impl Kind {
    /// Erases `A`.
    #[must_use]
    pub const fn of<A: Action>() -> Self {
        Self {
            name: A::KIND,
            aliases: A::ALIASES,
            before_only: A::BEFORE_ONLY,
            claims: A::claims,
            schema: || schemars::schema_for!(A::Config).to_value(),
            check: A::check,
            place: A::place,
            ready: |cx, config| {
                let config: A::Config = serde_json::from_value(config).map_err(|e| {
                    Failure::new(
                        "CONFIG_INVALID",
                        format!("the rendered settings are not valid: {e}"),
                    )
                })?;
                let destination = A::destination(cx, &config);
                Ok(Ready {
                    destination,
                    run: Box::new(move |cx| Box::pin(A::run(cx, config))),
                })
            },
        }
    }
}
