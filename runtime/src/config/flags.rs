//! The flags of `triggerd serve` and of every other command that reads the configuration.

use std::path::PathBuf;

/// The settings that have a flag; `--set` reaches all of them.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Flags {
    /// The configuration file [default: triggerd.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TRIGGERD_CONFIG")]
    pub config: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The directory that everything is kept in. The command line's own `--data-dir`, which other commands read too,
    /// is put here where it was given.
    #[arg(skip)]
    pub data_dir: Option<PathBuf>,
    /// A PostgreSQL database that nodes share, instead of SQLite in the data directory
    #[arg(long, value_name = "URL")]
    pub store_url: Option<String>,
    /// `development` or `production`
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// `text` or `json`
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// A level, or directives such as `info,triggerd::store=debug`
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Any other setting; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}
