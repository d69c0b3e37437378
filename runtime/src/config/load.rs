//! The layers that settings come from, laid over each other.

use std::path::Path;

use triggerd_core::mistake::nearest;

use super::list::{KEYS, PREFIX, variable_of};
use super::{Config, Environment, Flags};

/// The file that is read from the working directory where no other is named.
const DEFAULT_FILE: &str = "triggerd.toml";

/// The variable that all programs take their collector's address from: of less weight than our own.
const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Variables that are no settings of the server: the file's name, the client's address and key, and what Kubernetes
/// sets for a service that is called `triggerd`.
const NO_SETTINGS: &[&str] = &["CONFIG", "URL", "KEY", "API_KEY", "TENANT"];
const NO_SETTINGS_PREFIXES: &[&str] = &["SERVICE_", "PORT", "TEST_"];

/// A configuration that cannot be used: which setting, from where, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: String,
    },
    /// There is no such setting.
    #[error("{origin}: unknown setting `{key}`{hint}")]
    Unknown {
        /// The file, the environment or the flags.
        origin: String,
        /// As written.
        key: String,
        /// The nearest known one.
        hint: String,
    },
    /// The value is not right.
    #[error("{origin}: `{key}`: {reason}")]
    Invalid {
        /// The file, the environment or the flags.
        origin: String,
        /// As written.
        key: String,
        /// What is wrong; never a secret's value.
        reason: String,
    },
}

/// What loading found.
#[derive(Debug)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// To be logged once logs work.
    pub warnings: Vec<String>,
}

impl Config {
    /// The effective configuration of this process.
    pub fn load(flags: &Flags) -> Result<Loaded, Error> {
        let default = Path::new(DEFAULT_FILE);
        let file = flags.config.as_deref().or_else(|| default.exists().then_some(default));
        let file = file.map(|path| read_file(path).map(|text| (path.display().to_string(), text))).transpose()?;
        Self::layered(file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), std::env::vars(), flags)
    }

    /// The layers laid over each other: file (name and text), environment, flags.
    pub fn layered(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Loaded, Error> {
        let mut loaded = Loaded { config: Self::default(), warnings: Vec::new() };
        if let Some((name, text)) = file {
            loaded.config.lay_file(name, text)?;
        }
        let mut collector = None;
        for (name, value) in environment {
            if let Some(name) = name.strip_prefix(PREFIX) {
                loaded.lay_variable(name, &value)?;
            } else if name == COLLECTOR && !value.is_empty() {
                collector = Some(value);
            }
        }
        if let Some(collector) = collector.filter(|_| loaded.config.telemetry.otlp_endpoint.is_none()) {
            loaded
                .config
                .set("otlp_endpoint", &collector)
                .map_err(|reason| invalid("environment", COLLECTOR, reason))?;
        }
        loaded.config.lay_flags(flags)?;
        loaded.config.check()?;
        loaded.warn();
        Ok(loaded)
    }

    /// The effective configuration as a file that can be read back, secrets hidden.
    #[must_use]
    pub fn redacted(&self) -> String {
        let mut out = String::new();
        let mut table = "";
        for (key, value) in self.shown() {
            let (of, name) = key.split_once('.').unwrap_or(("", key));
            if of != table {
                out.push_str(&format!("\n[{of}]\n"));
                table = of;
            }
            match value.as_str() {
                "" => out.push_str(&format!("# {name} is not set\n")),
                _ => out.push_str(&format!("{name} = {}\n", toml::Value::String(value))),
            }
        }
        out
    }

    fn lay_file(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let file = |error: String| Error::File { path: name.to_owned(), error };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| file(error.to_string()))?;
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => {
                    for (inner, value) in inner {
                        self.lay_value(name, &format!("{key}.{inner}"), &value)?;
                    }
                }
                value => self.lay_value(name, &key, &value)?,
            }
        }
        Ok(())
    }

    fn lay_value(&mut self, origin: &str, key: &str, value: &toml::Value) -> Result<(), Error> {
        let text = text_of(value).map_err(|reason| invalid(origin, key, reason))?;
        self.lay(origin, key, &text)
    }

    fn lay_flags(&mut self, flags: &Flags) -> Result<(), Error> {
        if let Some(data_dir) = &flags.data_dir {
            self.store.data_dir.clone_from(data_dir);
        }
        let named = [
            ("listen", &flags.listen),
            ("store_url", &flags.store_url),
            ("environment", &flags.environment),
            ("log.format", &flags.log_format),
            ("log.level", &flags.log_level),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                self.lay("flags", key, value)?;
            }
        }
        for pair in &flags.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| invalid("--set", pair, "write it as KEY=VALUE"))?;
            self.lay("--set", key, value)?;
        }
        Ok(())
    }

    fn lay(&mut self, origin: &str, key: &str, text: &str) -> Result<(), Error> {
        match self.set(key, text) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Unknown {
                origin: origin.to_owned(),
                key: key.to_owned(),
                hint: hint(nearest(key, KEYS.iter().copied())),
            }),
            Err(reason) => Err(invalid(origin, key, reason)),
        }
    }

    /// What one setting alone cannot say.
    fn check(&self) -> Result<(), Error> {
        let at_least_one = [
            ("max_event_bytes", self.intake.max_event_bytes),
            ("max_batch", self.intake.max_batch),
            ("max_batch_bytes", self.intake.max_batch_bytes),
            ("server.max_connections", self.server.max_connections),
            ("engine.in_flight", self.engine.in_flight),
            ("engine.per_tenant", self.engine.per_tenant),
            ("engine.per_destination", self.engine.per_destination),
            ("wasm.compilations", self.wasm.compilations),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(invalid("configuration", key, "it must be at least 1"));
        }
        let largest = self.intake.max_event_bytes.max(self.intake.max_batch_bytes);
        if self.intake.max_in_flight_bytes / 2 < largest {
            let reason =
                format!("it must be at least twice the largest event or batch, {} bytes", largest.saturating_mul(2));
            return Err(invalid("configuration", "max_in_flight_bytes", reason));
        }
        let (cert, key) = (&self.server.tls_cert, &self.server.tls_key);
        if cert.is_some() != key.is_some() {
            let absent = if cert.is_some() { "tls_key" } else { "tls_cert" };
            return Err(invalid("configuration", absent, "TLS needs both `tls_cert` and `tls_key`"));
        }
        if self.access.admin_key.as_ref().is_some_and(|key| key.expose().len() < 16 && !self.is_development()) {
            return Err(invalid("configuration", "admin_key", "in production it needs at least 16 characters"));
        }
        Ok(())
    }
}

impl Loaded {
    /// An empty variable is one that is not set: that is how compose files write it.
    fn lay_variable(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let is_no_setting = NO_SETTINGS.contains(&name) || NO_SETTINGS_PREFIXES.iter().any(|p| name.starts_with(p));
        if value.is_empty() || is_no_setting {
            return Ok(());
        }
        // The short name that people try first.
        let name = if name == "LOG" { "LOG_LEVEL" } else { name };
        let variable = format!("{PREFIX}{name}");
        if let Some(key) = KEYS.iter().find(|key| variable_of(key) == variable) {
            return match self.config.set(key, value) {
                Ok(_) => Ok(()),
                Err(reason) => Err(invalid("environment", &variable, reason)),
            };
        }
        let known: Vec<String> = KEYS.iter().map(|key| variable_of(key)).collect();
        match nearest(&variable, known.iter().map(String::as_str)).filter(|near| is_near(near, &variable)) {
            Some(near) => {
                Err(Error::Unknown { origin: "environment".to_owned(), key: variable.clone(), hint: hint(Some(near)) })
            }
            // Other programs share the environment: a name that resembles no setting may well be theirs.
            None => {
                self.warnings.push(format!("{variable} is no setting of triggerd and has no effect"));
                Ok(())
            }
        }
    }

    fn warn(&mut self) {
        let config = &self.config;
        if config.environment == Environment::Development && !config.server.listen.ip().is_loopback() {
            self.warnings.push(format!(
                "listening on {} in development: test routes are open to others and loopback may be called; \
                 set TRIGGERD_ENVIRONMENT=production",
                config.server.listen
            ));
        }
    }
}

/// Variables are all alike in their first letters: what is near must be near in the rest.
fn is_near(known: &str, variable: &str) -> bool {
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let (known, variable) = (rest(known), rest(variable));
    nearest(&variable, [known.as_str()]).is_some()
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(|| "; triggerd.default.toml lists them all".to_owned(), |near| format!(", did you mean `{near}`?"))
}

fn invalid(origin: &str, key: &str, reason: impl Into<String>) -> Error {
    Error::Invalid { origin: origin.to_owned(), key: key.to_owned(), reason: reason.into() }
}

fn read_file(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::File { path: path.display().to_string(), error: error.to_string() })
}

/// The one text form of a TOML value.
fn text_of(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(is) => Ok(is.to_string()),
        toml::Value::Array(items) if items.is_empty() => Ok("none".to_owned()),
        toml::Value::Array(items) => {
            let items: Result<Vec<String>, String> = items.iter().map(text_of).collect();
            Ok(items?.join(","))
        }
        _ => Err("it takes a text, a number, `true`, `false` or a list of texts".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::list::MANUAL;
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn layered(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Loaded, String> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::layered(Some(("t.toml", file)), environment, flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_manual_parses_to_the_defaults_and_names_every_setting() {
        let loaded = layered(MANUAL, &[], &Flags::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.warnings.is_empty());
        for key in KEYS {
            let name = key.rsplit('.').next().unwrap();
            let named =
                MANUAL.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{name} =")));
            assert!(named, "triggerd.default.toml does not name `{key}`");
            assert!(MANUAL.contains(&variable_of(key)), "triggerd.default.toml does not name {}", variable_of(key));
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let flags = Flags { data_dir: Some(PathBuf::from("/flag")), ..Flags::default() };
        let file = "data_dir = '/file'\nretention = '1d'\nmax_batch = 7\n[log]\nformat = 'json'";
        let environment = [("TRIGGERD_DATA_DIR", "/env"), ("TRIGGERD_RETENTION", "2d"), ("PATH", "x")];
        let config = layered(file, &environment, &flags).unwrap().config;
        assert_eq!(config.store.data_dir, PathBuf::from("/flag"));
        assert_eq!(config.store.retention, Some(Duration::from_secs(2 * 86_400)));
        assert_eq!(config.intake.max_batch, 7);
        assert_eq!(config.log.format, super::super::LogFormat::Json);
    }

    #[test]
    fn the_collector_that_all_programs_are_told_of_is_ours_unless_another_is_named() {
        let shown = |environment: &[(&str, &str)]| {
            let config = layered("", environment, &Flags::default()).unwrap().config;
            config.telemetry.otlp_endpoint.map(|endpoint| endpoint.base().to_owned())
        };
        assert_eq!(shown(&[]), None);
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318");
        assert_eq!(shown(&[common]).as_deref(), Some("http://common:4318"));
        assert_eq!(shown(&[("TRIGGERD_OTLP_ENDPOINT", "http://own:4318"), common]).as_deref(), Some("http://own:4318"));
        let wrong = layered("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "common")], &Flags::default()).unwrap_err();
        assert!(wrong.starts_with("environment: `OTEL_EXPORTER_OTLP_ENDPOINT`: `common` is no address"), "{wrong}");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        let error = layered("lisen = '1.2.3.4:5'", &[], &Flags::default()).unwrap_err();
        assert_eq!(error, "t.toml: unknown setting `lisen`, did you mean `listen`?");
        let error = layered("[wasm]\nmemory_byte = 3", &[], &Flags::default()).unwrap_err();
        assert_eq!(error, "t.toml: unknown setting `wasm.memory_byte`, did you mean `wasm.memory_bytes`?");
        let error = layered("", &[("TRIGGERD_LISTN", "x")], &Flags::default()).unwrap_err();
        assert_eq!(error, "environment: unknown setting `TRIGGERD_LISTN`, did you mean `TRIGGERD_LISTEN`?");
    }

    #[test]
    fn variables_of_others_do_no_harm() {
        let theirs = [
            ("TRIGGERD_SERVICE_HOST", "10.0.0.1"),
            ("TRIGGERD_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("TRIGGERD_ADMIN_KEY", ""),
            ("TRIGGERD_SOMETHING_ELSE_ENTIRELY", "1"),
        ];
        let loaded = layered("", &theirs, &Flags::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings.len(), 1);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_origin_and_what_would_be_right() {
        let error = layered("", &[("TRIGGERD_RETENTION", "ninety")], &Flags::default()).unwrap_err();
        assert!(error.starts_with("environment: `TRIGGERD_RETENTION`: `ninety` is not a duration"), "{error}");
        let flags = Flags { set: vec!["engine.in_flight=0".to_owned()], ..Flags::default() };
        assert!(layered("", &[], &flags).unwrap_err().contains("at least 1"));
        let half = layered("tls_cert = '/etc/cert.pem'", &[], &Flags::default()).unwrap_err();
        assert!(half.contains("`tls_key`: TLS needs both"), "{half}");
    }

    #[test]
    fn the_printed_configuration_hides_secrets_and_reads_back() {
        let environment =
            [("TRIGGERD_ADMIN_KEY", "hunter2-hunter2-hunter2"), ("TRIGGERD_ALLOW_NETS", "10.0.0.0/8, ::1")];
        let config = layered("", &environment, &Flags::default()).unwrap().config;
        let printed = config.redacted();
        assert!(!printed.contains("hunter2") && printed.contains("admin_key = \"***\""), "{printed}");
        let again = layered(&printed, &[], &Flags::default()).unwrap().config;
        assert_eq!(again.egress, config.egress);
        assert_eq!(again.wasm, config.wasm);
    }

    #[test]
    fn loopback_may_be_called_in_development_and_nothing_private_in_production() {
        let config =
            |environment| layered("", &[("TRIGGERD_ENVIRONMENT", environment)], &Flags::default()).unwrap().config;
        assert_eq!(config("development").allowed_nets(), crate::config::Net::loopback());
        assert!(config("production").allowed_nets().is_empty());
    }
}
