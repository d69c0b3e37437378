//! Tokens that services want with every request, kept until shortly before they expire.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::connections::unsent::Unsent;
use crate::resources::Identity;

/// How long before its end a token is not used any more: a request takes its time.
const MARGIN: Duration = Duration::from_secs(60);

/// A token and its end.
#[derive(Clone)]
pub(super) struct Token {
    pub text: Arc<str>,
    pub expires: Timestamp,
}

/// Tokens by settings and service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens(moka::future::Cache<(Identity, &'static str), Token>);

impl Tokens {
    pub fn new() -> Self {
        Self(moka::future::Cache::builder().max_capacity(1024).time_to_live(Duration::from_secs(3600)).build())
    }

    /// The token that is kept, or one that `make` makes; whoever asks meanwhile waits for the same one.
    pub async fn get(
        &self,
        identity: &Identity,
        service: &'static str,
        now: Timestamp,
        make: impl Future<Output = Result<Token, Unsent>>,
    ) -> Result<Token, Unsent> {
        let key = (identity.clone(), service);
        if let Some(token) = self.0.get(&key).await {
            if token.expires > now + MARGIN {
                return Ok(token);
            }
            self.0.invalidate(&key).await;
        }
        self.0.try_get_with(key, make).await.map_err(|unsent| Unsent::clone(&unsent))
    }

    /// The service does not take it: the next one to ask makes another.
    pub async fn drop(&self, identity: &Identity, service: &'static str, refused: &Token) {
        let key = (identity.clone(), service);
        // Somebody else may have made another one already.
        if self.0.get(&key).await.is_some_and(|kept| kept.text == refused.text) {
            self.0.invalidate(&key).await;
        }
    }
}
