//! Takes what was ordered from stock: reads and writes a database of the tenant.

use serde::{Deserialize, Serialize};
use triggerd_sdk::{ActionError, Context};

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: i64,
}

#[derive(Deserialize)]
struct Stock {
    amount: i64,
}

/// What was there, and how many rows were changed.
#[derive(Serialize, PartialEq, Debug)]
struct Taken {
    before: i64,
    changed: u64,
}

const READ: &str = "SELECT amount FROM stock WHERE sku = $1";
const TAKE: &str = "UPDATE stock SET amount = amount - $1 WHERE sku = $2 AND amount >= $1";

/// Refuses what is not there.
#[triggerd_sdk::action]
fn take(cx: Context) -> Result<Taken, ActionError> {
    let order: Order = cx.record()?;
    let database = cx.database("orders-db");
    let rows: Vec<Stock> = database.query(READ, (&order.sku,))?;
    let before = rows.first().map_or(0, |stock| stock.amount);
    if before < order.quantity {
        return Err(ActionError::permanent("OUT_OF_STOCK", format!("{before} of {:?} are there", order.sku)));
    }
    let changed = database.execute(TAKE, (order.quantity, &order.sku))?;
    Ok(Taken { before, changed })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    #[test]
    fn what_is_there_is_taken_and_no_more() {
        let host = TestHost::new()
            .with_rows("orders-db", READ, vec![json!({"amount": 5})])
            .with_rows("orders-db", TAKE, vec![json!({})]);
        let order = |quantity: i64| invocation().record(json!({"sku": "a", "quantity": quantity}));
        assert_eq!(host.call(take, order(5)), Ok(Taken { before: 5, changed: 1 }));
        assert_eq!(host.call(take, order(6)).unwrap_err().code, "OUT_OF_STOCK");
        assert_eq!(host.statements().len(), 3);
    }
}
