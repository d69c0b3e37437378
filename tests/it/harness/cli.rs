//! The command line, run as people run it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// How commands reach their server.
pub struct Cli {
    pub url: String,
    pub key: String,
    pub tenant: Option<String>,
    /// The local server's, for commands that look into it.
    pub data_dir: Option<PathBuf>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_in(Path::new("/"), arguments, "").await
    }

    /// Runs a command in a directory, with something on its standard input.
    pub async fn run_in(&self, dir: &Path, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_triggerd"));
        command
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.env("TRIGGERD_URL", &self.url).env("TRIGGERD_KEY", &self.key);
        command.envs(self.tenant.as_ref().map(|tenant| ("TRIGGERD_TENANT", tenant)));
        command.envs(self.data_dir.as_ref().map(|dir| ("TRIGGERD_DATA_DIR", dir)));
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let input = input.to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the command can be started");
            // A command that reads no input closes it: that is its right.
            let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
            child.wait_with_output().expect("a child can be waited for")
        });
        let output = ended.await.expect("the thread does not panic");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Ran {
    /// What a command that must succeed printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout
    }

    /// The same as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}
