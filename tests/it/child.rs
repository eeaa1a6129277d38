//! The executable as its users run it: a process of its own, with nothing in its environment.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use sysinfo::{Pid, Process, ProcessesToUpdate, System};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::{Discord, PATIENCE};

/// A command line of ours.
pub fn mneme(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mneme"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// `mneme run` on a simulated Discord, with its store in a folder.
pub fn run_on(discord: &Discord, data: &Path) -> Command {
    let mut command = run_over(discord, ["--store", "embedded", "--data-dir"]);
    command.arg(data);
    command
}

/// `mneme run` on a simulated Discord, over the store that these arguments name.
pub fn run_over<const N: usize>(discord: &Discord, store: [&str; N]) -> Command {
    let mut command = mneme(["run", "--discord-pacing", "off"]);
    command.args(store);
    command.env("DISCORD_TOKEN", discord.simulator.token());
    command.env("DISCORD_API_URL", discord.simulator.url());
    command
}

/// What a command that ends by itself came to.
pub async fn outcome(mut command: Command) -> (ExitStatus, String, String) {
    let output: Output =
        timeout(PATIENCE, command.output()).await.expect("it ends").expect("it can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes text");
    (output.status, text(output.stdout), text(output.stderr))
}

/// A running process of ours, and what it writes.
pub struct Mneme {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    /// What was read of it so far.
    pub written: Vec<String>,
}

impl Mneme {
    pub fn start(mut command: Command) -> Self {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().expect("it can be started");
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(forward(process.stdout.take().expect("it is piped"), sender.clone()));
        tokio::spawn(forward(process.stderr.take().expect("it is piped"), sender));
        Self { process, lines, written: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Waits for the next line; `None` once the process has ended.
    pub async fn line(&mut self) -> Option<&str> {
        let line = timeout(PATIENCE, self.lines.recv()).await.expect("it says something");
        self.written.push(line?);
        self.written.last().map(String::as_str)
    }

    /// Waits for a line with these words.
    pub async fn says(&mut self, words: &str) -> String {
        loop {
            match self.line().await {
                Some(line) if line.contains(words) => return line.to_owned(),
                Some(_) => {}
                None => panic!("it ended and never said {words:?}:\n{}", self.written.join("\n")),
            }
        }
    }

    /// Waits for a line with these words unless there was one.
    pub async fn has_said(&mut self, words: &str) {
        if !self.written.iter().any(|line| line.contains(words)) {
            self.says(words).await;
        }
    }

    /// Waits until the bot is connected and its slash commands are there, in whichever order.
    pub async fn is_ready(&mut self) {
        let waits = |written: &[String]| {
            let said = |words: &str| written.iter().any(|line| line.contains(words));
            // With its module: others speak of connections too, when they are let.
            !(said("bot::session: connected") && said("registered slash commands"))
        };
        while waits(&self.written) {
            if self.line().await.is_none() {
                panic!("it ended while it started:\n{}", self.written.join("\n"));
            }
        }
    }

    /// Ends it without any warning. What it wrote is the answer.
    pub async fn kill(mut self) -> Vec<String> {
        self.process.start_kill().expect("it runs");
        self.ended().await.1
    }

    /// Asks it to end, as a supervisor does.
    pub async fn terminate(self) -> (ExitStatus, Vec<String>) {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        signal(self.id(), name).await;
    }

    /// The process that it has started, by its id.
    pub fn child(&self) -> u32 {
        let mut system = System::new();
        system.refresh_processes(ProcessesToUpdate::All, true);
        let parent = Some(Pid::from_u32(self.id()));
        // Threads are listed as well.
        let is_child = |process: &&Process| process.parent() == parent && process.thread_kind().is_none();
        let children: Vec<u32> =
            system.processes().values().filter(is_child).map(|process| process.pid().as_u32()).collect();
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = timeout(PATIENCE, self.process.wait()).await.expect("it ends").expect("it was started");
        while self.line().await.is_some() {}
        (status, self.written)
    }
}

/// Sends a process a signal.
pub async fn signal(id: u32, name: &str) {
    // The shell has a `kill` of its own wherever there is one.
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await;
    assert!(status.expect("there is a shell").success());
}

async fn forward(pipe: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut pipe = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = pipe.next_line().await {
        // The test may have heard enough.
        lines.send(line).ok();
    }
}
