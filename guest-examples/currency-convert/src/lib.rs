//! Converts an amount of money at the rates of an HTTP service.
//!
//! The service answers `GET ENDPOINT/latest?base=USD&symbols=EUR` with `{"rates": {"EUR": 0.92}}`, as
//! frankfurter.dev and its like do. Rates are cached by pair of currencies where a cache is named.
//! Arithmetic is decimal: no amount gets a digit that nobody wrote.

mod decimal;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use triggerd_sdk::{ActionError, Context};

use decimal::Decimal;

/// The action's `input`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Input {
    /// A number, or a decimal in a string, as databases write them.
    amount: Value,
    from: String,
    to: String,
    /// The rate service's address; its host must be granted.
    endpoint: String,
    /// The cache to keep rates in; it must be granted.
    #[serde(default)]
    cache: Option<String>,
    /// How long a rate is good for.
    #[serde(default = "an_hour")]
    max_age_seconds: u64,
}

/// The action's output.
#[derive(Serialize, PartialEq, Debug)]
struct Converted {
    amount: Number,
    currency: String,
    rate: Number,
}

/// What the rate service answers.
#[derive(Deserialize)]
struct Rates {
    rates: Map<String, Value>,
}

#[triggerd_sdk::action]
fn run(cx: Context<Input>) -> Result<Converted, ActionError> {
    let (from, to) = (currency(&cx.input.from)?, currency(&cx.input.to)?);
    let amount = decimal("AMOUNT_INVALID", "the amount", &cx.input.amount)?;
    let rate = if from == to { Number::from(1) } else { rate(&cx, &from, &to)? };
    let factor = decimal("RATE_INVALID", "the rate", &Value::Number(rate.clone()))?;
    let converted = amount.times(factor).and_then(|exact| exact.rounded(minor_digits(&to)));
    let converted = converted.ok_or_else(|| {
        ActionError::permanent("AMOUNT_INVALID", format!("{} {from} is more than can be converted", cx.input.amount))
    })?;
    Ok(Converted { amount: converted.to_number(), currency: to, rate })
}

/// The rate from the cache, or else from the service.
fn rate(cx: &Context<Input>, from: &str, to: &str) -> Result<Number, ActionError> {
    let key = format!("rate:{from}:{to}");
    let cache = cx.input.cache.as_deref().map(|tag| cx.cache(tag));
    if let Some(cache) = &cache {
        match cache.get::<Number>(&key) {
            Ok(Some(rate)) => return Ok(rate),
            Ok(None) => {}
            // A cache that is down costs a request, not the conversion.
            Err(error) => cx.log().field("key", &key).warn(format_args!("The cache gave no rate: {error}")),
        }
    }
    let rate = fetch(cx, from, to)?;
    if let Some(cache) = &cache {
        let max_age = Duration::from_secs(cx.input.max_age_seconds);
        if let Err(error) = cache.set(&key, &rate, Some(max_age)) {
            cx.log().field("key", &key).warn(format_args!("The cache took no rate: {error}"));
        }
    }
    Ok(rate)
}

/// Asks the service. Its 5xx and 429 may be tried again; that it does not know a currency is for good.
fn fetch(cx: &Context<Input>, from: &str, to: &str) -> Result<Number, ActionError> {
    let endpoint = cx.input.endpoint.trim_end_matches('/');
    let url = format!("{endpoint}/latest?base={from}&symbols={to}");
    let answer = cx.http().get(url).header("accept", "application/json").send()?.success()?;
    match answer.json::<Rates>()?.rates.remove(to) {
        Some(Value::Number(rate)) => Ok(rate),
        Some(other) => {
            Err(ActionError::permanent("RATE_INVALID", format!("the rate of {to} is {other}, not a number")))
        }
        None => Err(ActionError::permanent("RATE_UNKNOWN", format!("the service has no rate from {from} to {to}"))),
    }
}

/// An ISO 4217 code. Only letters get into the request's address.
fn currency(code: &str) -> Result<String, ActionError> {
    if code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_alphabetic()) {
        Ok(code.to_ascii_uppercase())
    } else {
        Err(ActionError::permanent("CURRENCY_INVALID", format!("{code:?} is not a currency code of three letters")))
    }
}

fn decimal(code: &str, what: &str, value: &Value) -> Result<Decimal, ActionError> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    Decimal::parse(&text).ok_or_else(|| {
        ActionError::permanent(code, format!("{what} is {value}, not a decimal number of at most 28 digits"))
    })
}

/// How many digits a currency has behind the point, by ISO 4217.
fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

fn an_hour() -> u64 {
    3600
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use triggerd_sdk::ServiceError;
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    const USD_EUR: &str = "https://rates.example/v1/latest?base=USD&symbols=EUR";

    fn convert(host: &TestHost, amount: Value, to: &str) -> Result<Value, ActionError> {
        let input = json!({
            "amount": amount, "from": "usd", "to": to, "endpoint": "https://rates.example/v1/", "cache": "memory",
        });
        host.call(run, invocation().input(input)).map(|converted| json!(converted))
    }

    #[test]
    fn an_amount_is_converted_and_rounded_to_cents() {
        let host = TestHost::new().with_http("GET", USD_EUR, 200, json!({"base": "USD", "rates": {"EUR": 0.9217}}));
        let expected = json!({"amount": 110.6, "currency": "EUR", "rate": 0.9217});
        let converted = convert(&host, json!("120.00"), "EUR").unwrap();
        assert_eq!(converted["amount"].to_string(), "110.60");
        assert_eq!((&converted["currency"], &converted["rate"]), (&expected["currency"], &expected["rate"]));
    }

    #[test]
    fn rates_are_asked_for_once_and_again_when_they_are_old() {
        let host = TestHost::new().with_http("GET", USD_EUR, 200, json!({"rates": {"EUR": 0.5}}));
        convert(&host, json!(1), "EUR").unwrap();
        convert(&host, json!(2), "EUR").unwrap();
        assert_eq!(host.requests().len(), 1);
        host.advance(Duration::from_secs(3600));
        convert(&host, json!(3), "EUR").unwrap();
        assert_eq!(host.requests().len(), 2);
    }

    #[test]
    fn the_same_currency_needs_no_service() {
        let host = TestHost::new();
        assert_eq!(convert(&host, json!(5), "USD").unwrap()["amount"].to_string(), "5.00");
        assert!(host.requests().is_empty());
    }

    #[test]
    fn yen_have_no_cents() {
        let url = "https://rates.example/v1/latest?base=USD&symbols=JPY";
        let host = TestHost::new().with_http("GET", url, 200, json!({"rates": {"JPY": 151.37}}));
        assert_eq!(convert(&host, json!(10.5), "jpy").unwrap()["amount"].to_string(), "1589");
    }

    #[test]
    fn a_service_that_is_down_is_tried_again() {
        let host = TestHost::new().with_http("GET", USD_EUR, 503, json!({}));
        let error = convert(&host, json!(1), "EUR").unwrap_err();
        assert_eq!((error.code.as_str(), error.is_retryable()), ("HTTP_503", true));
        let refused = ServiceError { code: "ECONNREFUSED".into(), message: "refused".into(), retryable: true };
        let host = TestHost::new().with_http_answer("GET", USD_EUR, Err(refused));
        assert!(convert(&host, json!(1), "EUR").unwrap_err().is_retryable());
    }

    #[test]
    fn what_cannot_be_mended_fails_for_good() {
        let host = TestHost::new().with_http("GET", USD_EUR, 200, json!({"rates": {}}));
        let code = |amount: Value, to: &str| {
            let error = convert(&host, amount, to).unwrap_err();
            assert!(!error.is_retryable(), "{error}");
            error.code
        };
        assert_eq!(code(json!(1), "EUR"), "RATE_UNKNOWN");
        assert_eq!(code(json!(1), "EU&"), "CURRENCY_INVALID");
        assert_eq!(code(json!("much"), "EUR"), "AMOUNT_INVALID");
        assert_eq!(code(json!(null), "EUR"), "AMOUNT_INVALID");
        assert_eq!(code(json!("9999999999999999999999999999999"), "USD"), "AMOUNT_INVALID");
    }
}
