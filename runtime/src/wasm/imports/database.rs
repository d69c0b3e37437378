//! `database`: statements in the tenant's databases, values bound.

use serde_json::Value;

use super::{answer, read_json};
use crate::wasm::bindings::triggerd::runtime::database::Host;
use crate::wasm::bindings::triggerd::runtime::types::ServiceError;
use crate::wasm::guest::{Forbidden, Guest};
use crate::wasm::services::{self, DatabaseQuestion};

type Answered<T> = wasmtime::Result<Result<T, ServiceError>>;

impl Guest {
    fn admit_database(&self, tag: &str, write: bool) -> wasmtime::Result<()> {
        let access = if write { "write" } else { "read" };
        self.admit(self.reach.capabilities.grants_database(tag, write), || {
            let what = format!("triggerd:runtime/database, to {access} {tag}");
            Forbidden::new(what, format!("\"databases\": {{\"{tag}\": \"{access}\"}}"))
        })
    }
}

fn question(database: String, sql: String, parameters: &[String]) -> Result<DatabaseQuestion, services::ServiceError> {
    let values = parameters.iter().map(|parameter| read_json("a value", parameter));
    Ok(DatabaseQuestion { database, sql, parameters: values.collect::<Result<_, _>>()? })
}

impl Host for Guest {
    async fn query(&mut self, database: String, sql: String, parameters: Vec<String>) -> Answered<Vec<String>> {
        self.admit_database(&database, false)?;
        let question = match question(database, sql, &parameters) {
            Ok(question) => question,
            Err(mistake) => return answer::<Vec<String>, _>(Err(mistake)),
        };
        let rows = self.reach.ask(move |to, cx| to.database_query(cx, question)).await;
        answer(rows.map(|rows| rows.iter().map(Value::to_string).collect::<Vec<String>>()))
    }

    async fn execute(&mut self, database: String, sql: String, parameters: Vec<String>) -> Answered<u64> {
        self.admit_database(&database, true)?;
        let question = match question(database, sql, &parameters) {
            Ok(question) => question,
            Err(mistake) => return answer::<u64, _>(Err(mistake)),
        };
        answer(self.reach.ask(move |to, cx| to.database_execute(cx, question)).await)
    }
}
