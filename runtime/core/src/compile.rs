//! From a definition's JSON to a compiled trigger, or to all the mistakes in it at once.

use serde_json::Value;

use crate::catalog::Catalog;
use crate::definition::Trigger;
use crate::mistake::Mistake;

/// Compiles a definition. `version` is the one it is stored as.
pub fn compile(
    source: &Value,
    version: u32,
    catalog: &dyn Catalog,
) -> Result<Trigger, Vec<Mistake>> {
    let _ = (source, version, catalog);
    unimplemented!()
}
