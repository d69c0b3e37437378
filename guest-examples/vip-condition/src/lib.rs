//! Says whether a customer is to be treated with special care.
//!
//! A customer is a VIP by tier, by what was spent in all, or by the domain of the e-mail address.
//! Which of these count, and from where on, the condition's `config` says.

use serde::Deserialize;
use triggerd_sdk::{ActionError, Context};

/// The condition's `config`. What is not given does not count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    /// Tiers that are VIP, in whatever case.
    #[serde(default)]
    tiers: Vec<String>,
    /// VIP from this sum on.
    #[serde(default)]
    min_lifetime_value: Option<f64>,
    /// Domains that are VIP, with all that is below them.
    #[serde(default)]
    domains: Vec<String>,
}

/// What is looked at of the record.
#[derive(Deserialize)]
struct Customer {
    #[serde(default)]
    tier: Option<String>,
    #[serde(default)]
    lifetime_value: Option<f64>,
    #[serde(default)]
    email: Option<String>,
}

#[triggerd_sdk::condition]
fn matches(cx: Context<Config>) -> Result<bool, ActionError> {
    let config = &cx.input;
    if config.tiers.is_empty() && config.min_lifetime_value.is_none() && config.domains.is_empty() {
        let message =
            "the condition's config names no `tiers`, `minLifetimeValue` or `domains`, so that nobody can be a VIP";
        return Err(ActionError::permanent("CONFIG_EMPTY", message));
    }
    let customer: Customer = cx.record()?;
    Ok(config.has_tier(&customer) || config.has_value(&customer) || config.has_domain(&customer))
}

impl Config {
    fn has_tier(&self, customer: &Customer) -> bool {
        let Some(tier) = &customer.tier else {
            return false;
        };
        self.tiers.iter().any(|vip| vip.eq_ignore_ascii_case(tier))
    }

    fn has_value(&self, customer: &Customer) -> bool {
        matches!((self.min_lifetime_value, customer.lifetime_value), (Some(min), Some(value)) if value >= min)
    }

    fn has_domain(&self, customer: &Customer) -> bool {
        let Some((_, domain)) = customer.email.as_deref().and_then(|email| email.rsplit_once('@')) else {
            return false;
        };
        let domain = domain.to_ascii_lowercase();
        self.domains.iter().any(|vip| {
            let vip = vip.to_ascii_lowercase();
            domain.strip_suffix(vip.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    fn is_vip(config: &Value, record: Value) -> Result<bool, ActionError> {
        TestHost::new().call(matches, invocation().change("afterInsert", "customers").input(config).record(record))
    }

    #[test]
    fn each_way_is_enough() {
        let config = json!({"tiers": ["gold"], "minLifetimeValue": 10000, "domains": ["example.com"]});
        assert_eq!(is_vip(&config, json!({"tier": "Gold"})), Ok(true));
        assert_eq!(is_vip(&config, json!({"lifetime_value": 10000})), Ok(true));
        assert_eq!(is_vip(&config, json!({"email": "ann@mail.EXAMPLE.com"})), Ok(true));
        let nobody = json!({"tier": "silver", "lifetime_value": 9999.99, "email": "bob@badexample.com"});
        assert_eq!(is_vip(&config, nobody), Ok(false));
    }

    #[test]
    fn what_is_missing_or_null_does_not_count() {
        let config = json!({"tiers": ["gold"], "minLifetimeValue": 1, "domains": ["example.com"]});
        assert_eq!(is_vip(&config, json!({})), Ok(false));
        assert_eq!(is_vip(&config, json!({"tier": null, "lifetime_value": null, "email": "no-address"})), Ok(false));
    }

    #[test]
    fn a_config_that_can_never_match_is_told() {
        assert_eq!(is_vip(&json!({}), json!({})).unwrap_err().code, "CONFIG_EMPTY");
        assert_eq!(is_vip(&json!({"tier": ["gold"]}), json!({})).unwrap_err().code, "INPUT_INVALID");
    }
}
