//! The token and the secret key are in nothing that the bot writes: log, replies, metrics, errors, findings.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::child::{Mneme, mneme, outcome};
use crate::harness::{Discord, free_address};
use crate::{endpoint, prefix};

/// Nobody's, and in no other text.
const SECRET_KEY: &str = "wJalrSECRETthatNobodyMayRead0123456789AB";

/// A role of ours with a token, a secret key, and a log that says all it can.
fn with_secrets(discord: &Discord, role: &[&str], endpoint: &str, prefix: &str) -> Command {
    let mut command = mneme(role);
    command
        .env("DISCORD_TOKEN", discord.simulator.token())
        .env("DISCORD_API_URL", discord.simulator.url())
        .env("DYNAMODB_ENDPOINT", endpoint)
        .env("TABLE_PREFIX", prefix)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("LOG", "trace");
    command
}

/// Everything that a page of the operator's says.
async fn page(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the pages are served");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

/// Every kind of work once: questions, changes, refusals.
async fn talk(discord: &Discord) -> Vec<String> {
    let (ann, mut replies) = (discord.person("zoo", "cats", "ann"), Vec::new());
    for line in [
        ".status",
        ".rem tea is hot",
        ".rem tea",
        ".rem tea is cold",
        ".mem append tea is sweet",
        ".mem history tea",
        ".mem undo",
        ".mem list",
        ".forget tea",
        ".rem tea",
        ".remmeber",
        ".help",
    ] {
        replies.push(ann.says(line).await);
    }
    replies.push(ann.slash("rem set", &[("key", "milk".into()), ("value", "white".into())]).await.text());
    replies
}

#[tokio::test]
async fn nothing_that_is_written_holds_a_secret() {
    let (discord, prefix, http) = (Discord::start().await, prefix("secrets"), free_address().to_string());
    let mut command =
        with_secrets(&discord, &["run", "--create-tables", "--http", &http], &endpoint(), &prefix);
    command.args(["--discord-pacing", "off"]);
    let mut bot = Mneme::start(command);
    bot.is_ready().await;
    let mut written = talk(&discord).await;
    assert!(written.iter().any(|reply| reply == "hot"), "the bot works: {written:?}");
    for path in ["/live", "/ready", "/metrics"] {
        written.push(page(&http, path).await);
    }
    let (status, log) = bot.terminate().await;
    assert!(status.success(), "{}", log.join("\n"));
    assert!(log.iter().any(|line| line.contains("TransactWriteItems")), "the log says all it can");
    written.extend(log);
    // Where things are wrong, more is said.
    for (role, endpoint) in [
        (["doctor"].as_slice(), endpoint().as_str()),
        (&["doctor"], "http://127.0.0.1:9"),
        (&["tables", "check"], "http://127.0.0.1:9"),
        (&["tables", "check", "--table-prefix", "missing-"], endpoint().as_str()),
        (&["run"], "http://127.0.0.1:9"),
        (&["run", "--help"], endpoint().as_str()),
    ] {
        let (_, out, errors) = outcome(with_secrets(&discord, role, endpoint, &prefix)).await;
        written.extend([out, errors]);
    }
    let token = discord.simulator.token();
    for (what, secret) in [("token", token.as_str()), ("secret key", SECRET_KEY)] {
        let found = written.iter().find(|text| text.contains(secret));
        assert_eq!(found, None, "the {what} is written down");
    }
    discord.end().await;
}
