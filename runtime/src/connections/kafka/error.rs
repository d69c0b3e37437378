//! Why a record was not confirmed.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

pub use crate::connections::error::Error;

impl Error {
    /// What a code of librdkafka or of the protocol means. `trouble` is what went wrong last, where it is known.
    pub(super) fn of(code: Code, trouble: Option<&str>) -> Self {
        if is_refusal(code) {
            return Self::Refused(code.to_string());
        }
        Self::Unavailable(match trouble {
            Some(trouble) => format!("{code} ({trouble})"),
            None => code.to_string(),
        })
    }

    /// Of settings that the library does not take. Its own words may quote a value.
    pub(super) fn of_settings(error: &KafkaError) -> Self {
        Self::Refused(match error {
            KafkaError::ClientConfig(_, _, name, _) => format!("the value of `{name}` cannot be used"),
            KafkaError::ClientCreation(words) => words.clone(),
            _ => "the settings cannot be used".to_owned(),
        })
    }
}

/// Codes that the same record will meet again.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::PolicyViolation
            | Code::InvalidRecord
            | Code::InvalidRequiredAcks
            | Code::InvalidTimestamp
            | Code::InvalidConfig
            | Code::InvalidArgument
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
    )
}
