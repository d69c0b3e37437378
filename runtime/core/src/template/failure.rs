//! Why rendering stopped, and in which placeholder.

/// Why rendering stopped.
#[derive(Debug)]
pub(super) struct Failure {
    /// What stands between the braces, where it is known.
    placeholder: Option<String>,
    detail: String,
}

impl From<String> for Failure {
    fn from(detail: String) -> Self {
        Self { placeholder: None, detail }
    }
}

impl Failure {
    /// A placeholder without a value where that is not allowed.
    pub fn missing(placeholder: &str) -> Self {
        Self::from("it has no value, and the action is strict".to_owned()).at(placeholder)
    }

    /// The same, in `placeholder` unless a more precise one is known.
    pub fn at(mut self, placeholder: &str) -> Self {
        self.placeholder.get_or_insert_with(|| placeholder.to_owned());
        self
    }

    /// The sentence: what failed, in which placeholder.
    pub fn into_sentence(self) -> String {
        match self.placeholder {
            Some(placeholder) => format!("`{{{{{placeholder}}}}}`: {}", self.detail),
            None => self.detail,
        }
    }
}
