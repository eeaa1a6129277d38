//! A real XMPP server of a test's own, on a free port: Prosody, or what `XMPP_ENGINE` names.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// The domain that it serves, and the password of every account.
pub const DOMAIN: &str = "relay.test";
pub const PASSWORD: &str = "not-a-secret-7f3a";

/// Longer than ejabberd takes to repair its tables on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(300);

pub struct Server {
    pub port: u16,
    pub tls: bool,
    engine: String,
    folder: tempfile::TempDir,
    accounts: Vec<String>,
    process: Child,
}

impl Server {
    /// With an account for each of these names.
    pub async fn start(tls: bool, names: &[&str]) -> Self {
        let engine = std::env::var("XMPP_ENGINE").unwrap_or_else(|_| "prosody".to_owned());
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let folder = tempfile::tempdir().expect("a folder for a test");
        let accounts: Vec<_> = names.iter().map(|name| format!("{name}:{PASSWORD}")).collect();
        let process = launch(&engine, port, tls, folder.path().to_owned(), &accounts);
        let mut server = Self { port, tls, engine, folder, accounts, process };
        server.ready().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What is to be trusted, where it speaks TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.tls.then(|| self.folder.path().join("ca.pem"))
    }

    /// Ends it without any warning.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it runs");
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) {
        let folder = self.folder.path().to_owned();
        self.process = launch(&self.engine, self.port, self.tls, folder, &self.accounts);
        self.ready().await;
    }

    async fn ready(&mut self) {
        let accepts = async {
            let mut tries = interval(Duration::from_millis(50));
            while TcpStream::connect(self.address()).await.is_err() {
                tries.tick().await;
                if let Ok(Some(status)) = self.process.try_wait() {
                    panic!("the XMPP server ended with {status}: {}", self.log());
                }
            }
        };
        if timeout(READY_WITHIN, accepts).await.is_err() {
            panic!("the XMPP server is not ready: {}", self.log());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn launch(engine: &str, port: u16, tls: bool, folder: PathBuf, accounts: &[String]) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/xmpp.sh");
    let mut command = Command::new(script);
    command.args([engine, &port.to_string()]).arg(folder).args(accounts);
    if tls {
        command.env("XMPP_TLS", "1");
    }
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    quiet.spawn().expect("the script is there")
}
