//! `cargo xtask demo`: builds, starts the server on the embedded store in `./data`, applies `examples/orders`, sends its
//! events, tells what happened to each, and stays up.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{GuestToolchain, workspace_root};

/// Where `examples/orders` finds the warehouse.
const WAREHOUSE: &str = "127.0.0.1:8099";
const LISTEN: &str = "127.0.0.1:8080";

/// Runs the demo; `once`: ends after the events instead of staying up.
pub fn run(once: bool) -> Result<()> {
    let root = workspace_root();
    say("Preparing the Wasm target and building the guest");
    let guest = GuestToolchain::prepare()?.build(&root.join("guest-examples/lead-score"))?;
    fs::copy(&guest, root.join("examples/orders/components/lead-score.wasm")).context("cannot copy the guest")?;
    say("Building triggerd (the first time takes some minutes)");
    let program = build(&root)?;
    let demo = Demo::new(root, program);
    demo.check_ports()?;
    receive()?;
    say(&format!("Starting triggerd on http://{} with its data in {}", demo.listen, demo.data.display()));
    let mut server = demo.serve()?;
    let told = demo.tell_all(&mut server);
    if told.is_ok() && !once {
        demo.next_steps();
        server.wait().context("cannot wait for the server")?;
        return Ok(());
    }
    stop(&mut server)?;
    told
}

struct Demo {
    root: PathBuf,
    program: PathBuf,
    listen: String,
    data: PathBuf,
}

impl Demo {
    fn new(root: PathBuf, program: PathBuf) -> Self {
        let listen = std::env::var("TRIGGERD_LISTEN").unwrap_or_else(|_| LISTEN.into());
        let data = std::env::var_os("TRIGGERD_DATA_DIR").map_or_else(|| PathBuf::from("./data"), PathBuf::from);
        Self { root, program, listen, data }
    }

    /// A port that is taken is told before anything is started.
    fn check_ports(&self) -> Result<()> {
        for (address, what) in [(self.listen.as_str(), "triggerd"), (WAREHOUSE, "the demo's receiver")] {
            TcpListener::bind(address)
                .with_context(|| format!("{address}, where {what} is to listen, is taken; free it and try again"))?;
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("TRIGGERD_DATA_DIR", &self.data)
            .env("TRIGGERD_LISTEN", &self.listen)
            .env("TRIGGERD_URL", format!("http://{}", self.listen));
        command
    }

    fn serve(&self) -> Result<Child> {
        let mut command = self.command(&["serve"]);
        command.stdin(Stdio::null()).env("TRIGGERD_LOG_LEVEL", "warn");
        command.spawn().context("cannot start triggerd")
    }

    fn wait_until_ready(&self, server: &mut Child) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = server.try_wait().context("cannot look at the server")? {
                bail!("triggerd ended with {status}; what it said stands above");
            }
            if get(&self.listen, "/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("triggerd was not ready within 30 s")
    }

    fn tell_all(&self, server: &mut Child) -> Result<()> {
        self.wait_until_ready(server)?;
        say("Applying examples/orders: definitions, a message template, the compiled guest");
        self.tell(&["apply", "-f", "examples/orders"])?;
        for event in events(&self.root.join("examples/orders/events"))? {
            let name = event.strip_prefix(&self.root).unwrap_or(&event).display().to_string();
            say(&format!("Sending {name}"));
            self.tell(&["event", "send", &name, "--wait"])?;
        }
        say("The inbox now");
        self.tell(&["inbox"])
    }

    fn tell(&self, arguments: &[&str]) -> Result<()> {
        println!("$ triggerd {}", arguments.join(" "));
        let status = self.command(arguments).status().context("cannot run triggerd")?;
        if !status.success() {
            bail!("`triggerd {}` failed", arguments.join(" "));
        }
        Ok(())
    }

    fn next_steps(&self) {
        let program = self.program.strip_prefix(&self.root).unwrap_or(&self.program).display();
        let url = format!("http://{}/api/v1", self.listen);
        let data = self.data.display();
        say("triggerd stays up; Ctrl-C stops it. In another terminal:");
        println!(
            "  KEY=$(cat {data}/admin.key)\n\
             \x20 {program} event tail\n\
             \x20 {program} event send examples/orders/events/1-new-order.json --wait\n\
             \x20 {program} trigger test process-new-order --event examples/orders/events/3-draft.json\n\
             \x20 curl -s -H \"Authorization: Bearer $KEY\" {url}/mailbox\n\
             \x20 curl -s -H \"Authorization: Bearer $KEY\" {url}/brokers/embedded/topics/orders/messages\n\
             \x20 curl -s -H \"Authorization: Bearer $KEY\" {url}/caches/memory/entries/order:o-1002\n\
             \x20 curl -s -H \"Authorization: Bearer $KEY\" {url}/openapi.json\n\
             \x20 {program} new action my-action --sdk sdk/rust"
        );
    }
}

/// Set by `cargo xtask test`, which has just built the program: with the tests' dependencies, whose features would have
/// everything built a second time.
pub const BUILT: &str = "TRIGGERD_DEMO_BUILT";

fn build(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join("debug/triggerd");
    if std::env::var_os(BUILT).is_some() && program.is_file() {
        return Ok(program);
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = command.args(["build", "--locked", "--workspace"]).current_dir(root).status();
    if !status.context("cannot run cargo")?.success() {
        bail!("the build failed; what it said stands above");
    }
    Ok(program)
}

fn events(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// The warehouse: says what it received, and answers 200.
fn receive() -> Result<()> {
    let listener = TcpListener::bind(WAREHOUSE).with_context(|| format!("cannot listen on {WAREHOUSE}"))?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Err(error) = answer(connection) {
                    println!("  [warehouse] a request broke off: {error}");
                }
            });
        }
    });
    Ok(())
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    loop {
        let mut head = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && line.trim() != "" {
            head.push(std::mem::take(&mut line));
        }
        let Some(first) = head.first() else { return Ok(()) };
        let field = |name: &str| head.iter().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
        let length = field("content-length:").and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        println!("  [warehouse] {} {}", first.trim(), String::from_utf8_lossy(&body));
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    }
}

/// The answer to a plain `GET`.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Stops the server as an operator would, so that its drain is part of what is shown.
fn stop(server: &mut Child) -> Result<()> {
    let pid = server.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().context("cannot stop the server")?;
    server.wait().context("cannot wait for the server")?;
    Ok(())
}

fn say(text: &str) {
    println!("\n== {text}");
}
