//! What an operator is told when something is missing: by `mneme doctor`, `mneme tables`, `mneme health`, and
//! by `mneme run` when it starts.

use std::time::Duration;

use mneme::clock::Clock;
use mneme::dynamo::{Index, KeyAttribute, KeyKind, Projection, TableSpec};
use mneme::sim::World;
use mneme::tables;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::time::timeout;

use crate::child::{Mneme, mneme, outcome, run_on};
use crate::endpoint::{Endpoint, REGION};
use crate::harness::{Discord, PATIENCE};

const TOKEN: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GhIjKl.a-secret-that-nobody-may-read";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

const MESSAGE_CONTENT: u64 = 1 << 15;
const EMBED_LINKS: u64 = 1 << 14;

/// What a process said, and its status.
struct Said {
    status: i32,
    text: String,
}

/// Whatever goes wrong: nothing secret, and nothing that only a programmer reads.
async fn said(command: Command) -> Said {
    let (status, out, errors) = outcome(command).await;
    let text = out + &errors;
    for secret in [TOKEN, ACCESS_KEY, SECRET_KEY] {
        assert!(!text.contains(secret), "{text}");
    }
    for trace in ["panicked", "backtrace", "src/", "Error {", "Error(", "source:"] {
        assert!(!text.contains(trace), "{trace} in {text}");
    }
    Said { status: status.code().expect("it ended by itself"), text }
}

impl Said {
    #[track_caller]
    fn tells(&self, state: &str, about: &str, words: &[&str]) {
        let start = format!("{state:<4}  {about:<12} ");
        let mut lines = self.text.lines().filter(|line| line.starts_with(&start));
        let found = lines.any(|line| words.iter().all(|words| line.contains(words)));
        assert!(found, "no line {start:?} with {words:?} in:\n{}", self.text);
    }

    #[track_caller]
    fn fails(&self, about: &str, words: &[&str]) {
        self.tells("FAIL", about, words);
        assert_eq!(self.status, 78, "{}", self.text);
    }

    #[track_caller]
    fn warns(&self, about: &str, words: &[&str]) {
        self.tells("warn", about, words);
        assert_eq!(self.status, 0, "{}", self.text);
    }
}

/// A command that uses a store over HTTP, with credentials.
fn at(endpoint: &str, arguments: &str) -> Command {
    let mut command = mneme(arguments.split(' '));
    command.env("DYNAMODB_ENDPOINT", endpoint).env("AWS_REGION", REGION);
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command
}

/// `mneme doctor` on an endpoint and a Discord.
async fn doctor(endpoint: &Endpoint, discord: &Discord) -> Said {
    said(on(at(&endpoint.url, "doctor"), discord)).await
}

fn on(mut command: Command, discord: &Discord) -> Command {
    command.env("DISCORD_API_URL", discord.simulator.url());
    command.env("DISCORD_TOKEN", discord.simulator.token());
    command
}

/// An address where nobody listens, kept from others while the socket lives.
fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

/// All tables, one of them changed.
fn changed(name: &str, change: impl Fn(TableSpec) -> TableSpec) -> Vec<TableSpec> {
    let all = tables::all();
    assert!(all.iter().any(|table| table.name == name));
    all.into_iter().map(|table| if table.name == name { change(table) } else { table }).collect()
}

#[tokio::test]
async fn all_is_well() {
    let (endpoint, discord) = (Endpoint::with(&tables::all()).await, Discord::start().await);
    let said = doctor(&endpoint, &discord).await;
    assert_eq!(said.status, 0, "{}", said.text);
    for (about, words) in [
        ("region", REGION),
        ("credentials", "found, with an access key that ends in MPLE"),
        ("endpoint", "answers in"),
        ("tables", "are there"),
        ("keys", "as declared"),
        ("indexes", "as declared"),
        ("expiry", "as declared"),
        ("recovery", "this store has no point-in-time recovery"),
        ("permissions", "the bot needs no scan"),
        ("transactions", "nothing was written"),
        ("Discord", "answers"),
        ("token", "application"),
        ("shards", "session starts left"),
        ("intents", "message content is allowed"),
        ("servers", "the bot is in 2"),
        ("clock", "agrees with"),
    ] {
        said.tells("ok", about, &[words]);
    }
    assert!(said.text.contains("The bot would work."), "{}", said.text);
    discord.end().await;
}

#[tokio::test]
async fn nothing_is_running() {
    let (_store, store_url) = nobody();
    let (_discord, discord_url) = nobody();
    let mut command = at(&store_url, "doctor");
    command.env("DISCORD_API_URL", &discord_url).env("DISCORD_TOKEN", TOKEN);
    let told = said(command).await;
    told.fails("endpoint", &[&store_url, "cannot be reached", "Is it running, and DYNAMODB_ENDPOINT right?"]);
    told.fails("Discord", &[&discord_url, "cannot be reached", "DISCORD_API_URL"]);
    for act in ["tables check", "tables create", "run"] {
        let mut command = at(&store_url, act);
        command.env("DISCORD_TOKEN", TOKEN);
        let told = said(command).await;
        assert_ne!(told.status, 0);
        assert!(told.text.contains("Is it running, and DYNAMODB_ENDPOINT right?"), "{act}: {}", told.text);
    }
}

#[tokio::test]
async fn a_missing_region_and_missing_credentials_are_named() {
    let amazon = |act: &str| {
        let mut command = mneme(act.split(' ').chain(["--store", "dynamodb"]));
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("DISCORD_TOKEN", TOKEN);
        // Nobody is there: the store is what this is about.
        command.env("DISCORD_API_URL", "http://127.0.0.1:9");
        command
    };
    said(amazon("doctor")).await.fails("region", &["no AWS region", "Set AWS_REGION"]);
    let with_region = |act: &str| {
        let mut command = amazon(act);
        command.env("AWS_REGION", "eu-central-1");
        command
    };
    let told = said(with_region("doctor")).await;
    told.fails("credentials", &["no AWS credentials were found", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"]);
    let told = said(amazon("run")).await;
    assert!(told.status != 0 && told.text.contains("set AWS_REGION"), "{}", told.text);
    for act in ["run", "tables check"] {
        let told = said(if act == "run" { with_region(act) } else { tables_only(with_region(act)) }).await;
        assert!(
            told.status != 0 && told.text.contains("Set AWS_PROFILE, or AWS_ACCESS_KEY_ID"),
            "{}",
            told.text
        );
    }
}

/// `mneme tables` has no use for the settings of Discord.
fn tables_only(mut command: Command) -> Command {
    command.env_remove("DISCORD_TOKEN").env_remove("DISCORD_API_URL");
    command
}

#[tokio::test]
async fn a_missing_table_and_a_wrong_region_are_named() {
    let endpoint = Endpoint::start().await;
    let discord = Discord::start().await;
    let mut all = tables::all();
    let last = all.pop().unwrap();
    endpoint.store(REGION).create_tables(&all).await.unwrap();
    let create = format!("mneme tables create --dynamodb-endpoint {}", endpoint.url);
    doctor(&endpoint, &discord).await.fails("tables", &["missing in", last.name, &create]);
    let told = said(on(at(&endpoint.url, "run"), &discord)).await;
    let words = format!("The table {} does not exist. Create it with: {create}", last.name);
    assert!(told.status != 0 && told.text.contains(&words), "{}", told.text);

    endpoint.store(REGION).create_tables(&[last]).await.unwrap();
    assert_eq!(doctor(&endpoint, &discord).await.status, 0);
    let mut elsewhere = on(at(&endpoint.url, "doctor"), &discord);
    elsewhere.env("AWS_REGION", "eu-west-1");
    let told = said(elsewhere).await;
    told.fails("tables", &[last.name, all[0].name, "AWS_REGION", "is not theirs"]);
    told.tells("ok", "region", &["eu-west-1"]);
    discord.end().await;
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_named_by_all_who_look() {
    const OTHER: Index = Index {
        name: "by_colour",
        range: KeyAttribute { name: "colour", kind: KeyKind::Text },
        projection: Projection::Keys,
    };
    let history = |change: fn(TableSpec) -> TableSpec| changed("history", change);
    let stopping: [(Vec<TableSpec>, &str, &str); 4] = [
        (
            history(|table| TableSpec {
                hash: KeyAttribute { name: "server", kind: KeyKind::Text },
                ..table
            }),
            "keys",
            "has the key server (S), entry (S), expected discord_server_id (N), entry (S)",
        ),
        (history(|table| TableSpec { indexes: &[], ..table }), "indexes", "has no local index by_event"),
        (
            history(|table| TableSpec { expires: Some("event_id"), ..table }),
            "expiry",
            "records expire by event_id, expected expires_at. Switch it off",
        ),
        (
            history(|table| TableSpec { range: None, indexes: &[], ..table }),
            "keys",
            "back the table up, delete it, and create it anew with: mneme tables create",
        ),
    ];
    let bearable: [(Vec<TableSpec>, &str, &str); 2] = [
        (
            history(|table| TableSpec { expires: None, ..table }),
            "expiry",
            "nothing expires, expected expiry by expires_at. Old records stay for ever. Switch it on with: mneme",
        ),
        (
            changed("tally", |table| TableSpec {
                indexes: if table.range.is_some() { &[OTHER] } else { table.indexes },
                ..table
            }),
            "indexes",
            "has a local index that is not declared: by_colour",
        ),
    ];
    let discord = Discord::start().await;
    for (specs, about, words) in stopping {
        let endpoint = Endpoint::with(&specs).await;
        doctor(&endpoint, &discord).await.fails(about, &[words]);
        for act in ["tables check", "tables create", "run", "run --create-tables"] {
            let told = said(on(at(&endpoint.url, act), &discord)).await;
            assert!(told.status != 0 && told.text.contains(words), "{act}: {}", told.text);
        }
    }
    for (specs, about, words) in bearable {
        let endpoint = Endpoint::with(&specs).await;
        doctor(&endpoint, &discord).await.warns(about, &[words]);
        let told = said(at(&endpoint.url, "tables check")).await;
        assert!(told.status != 0 && told.text.contains(words), "{}", told.text);
        // The bot works with it, and says so.
        let mut bot = Mneme::start(on(at(&endpoint.url, "run"), &discord));
        bot.says(words).await;
        bot.is_ready().await;
        assert!(bot.terminate().await.0.success());
    }
    discord.end().await;
}

#[tokio::test]
async fn tables_are_created_and_checked_over_http() {
    let endpoint = Endpoint::start().await;
    let act = async |act: &str| said(at(&endpoint.url, &format!("tables {act} --table-prefix zoo-"))).await;
    let told = act("check").await;
    assert!(told.status != 0, "{}", told.text);
    for table in tables::all() {
        let words =
            format!("The table zoo-{} does not exist. Create it with: mneme tables create", table.name);
        assert!(told.text.contains(&words), "{}", told.text);
    }
    assert!(told.text.contains("--table-prefix zoo-"), "{}", told.text);
    for word in ["created", "there"] {
        let told = act("create").await;
        assert_eq!(told.status, 0, "{}", told.text);
        for table in tables::all() {
            assert!(told.text.contains(&format!("{word:<8} zoo-{}\n", table.name)), "{}", told.text);
        }
    }
    assert_eq!(act("check").await.status, 0);
    assert!(act("list").await.text.contains("zoo-history: discord_server_id N"));
    assert_ne!(said(at(&endpoint.url, "tables check")).await.status, 0, "without the prefix there are none");

    // What was off is switched on.
    let endpoint = Endpoint::with(&changed("history", |table| TableSpec { expires: None, ..table })).await;
    let told = said(at(&endpoint.url, "tables create")).await;
    assert!(told.status == 0 && told.text.contains("mended   history\n"), "{}", told.text);
}

#[tokio::test]
async fn an_index_too_many_is_named_with_the_way_to_remove_it() {
    let endpoint = Endpoint::start().await;
    let all = tables::all();
    let (first, rest) = all.split_first().unwrap();
    endpoint.store(REGION).create_tables(rest).await.unwrap();
    let attribute =
        |key: KeyAttribute| json!({ "AttributeName": key.name, "AttributeType": key.kind.letter() });
    let keys = [Some(first.hash), first.range].into_iter().flatten();
    let names = keys.clone().zip(["HASH", "RANGE"]);
    let schema: Vec<_> =
        names.map(|(key, kind)| json!({ "AttributeName": key.name, "KeyType": kind })).collect();
    let index = json!({
        "IndexName": "by_nobody",
        "KeySchema": [{ "AttributeName": first.hash.name, "KeyType": "HASH" }],
        "Projection": { "ProjectionType": "KEYS_ONLY" },
    });
    let request = json!({
        "TableName": first.name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": schema,
        "AttributeDefinitions": keys.map(attribute).collect::<Vec<_>>(),
        "GlobalSecondaryIndexes": [index],
    });
    let client = reqwest::Client::new().post(&endpoint.url);
    let client = client.header("x-amz-target", "DynamoDB_20120810.CreateTable").body(request.to_string());
    assert!(client.send().await.unwrap().status().is_success());
    let told = said(at(&endpoint.url, "tables check")).await;
    assert!(told.status != 0, "{}", told.text);
    for words in ["has a global index that is not declared: by_nobody", "Delete={IndexName=by_nobody}"] {
        assert!(told.text.contains(words), "{}", told.text);
    }
}

#[tokio::test]
async fn what_amazon_refuses_is_told_in_our_words() {
    let discord = Discord::start().await;
    for (code, message, about, words) in [
        (
            "UnrecognizedClientException",
            "The security token is invalid.",
            "credentials",
            "access key is not known",
        ),
        ("ExpiredTokenException", "The security token is expired", "credentials", "aws sso login"),
        ("InvalidSignatureException", "The signature does not match", "credentials", "AWS_SECRET_ACCESS_KEY"),
        ("InvalidSignatureException", "Signature expired: 2026 is before 2027", "clock", "Set the clock"),
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:role/x is not authorized to perform: dynamodb:DescribeTable",
            "permissions",
            "dynamodb:DescribeTable. Give the bot's role the policy that this prints: mneme tables policy",
        ),
    ] {
        let endpoint = Endpoint::with(&tables::all()).await;
        endpoint.refuse("DescribeTable", code, message);
        doctor(&endpoint, &discord).await.fails(about, &[words]);
        let told = said(on(at(&endpoint.url, "run"), &discord)).await;
        assert!(told.status != 0 && told.text.contains(words), "{}", told.text);
    }
    let endpoint = Endpoint::with(&tables::all()).await;
    endpoint.refuse(
        "DescribeTimeToLive",
        "AccessDeniedException",
        "not authorized: dynamodb:DescribeTimeToLive",
    );
    for act in ["doctor", "run", "run --create-tables"] {
        let told = said(on(at(&endpoint.url, act), &discord)).await;
        assert!(told.status != 0 && told.text.contains("not authorized: dynamodb:Describe"), "{}", told.text);
    }
    let page = Endpoint::start().await;
    page.answer("DescribeTable", 404, json!("a page of somebody else"));
    doctor(&page, &discord).await.fails("endpoint", &["does not speak DynamoDB"]);
    discord.end().await;
}

#[tokio::test]
async fn a_permission_that_is_missing_is_named_before_it_is_needed() {
    let discord = Discord::start().await;
    for operation in ["GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"] {
        let endpoint = Endpoint::with(&tables::all()).await;
        endpoint.refuse(operation, "AccessDeniedException", "User: x is not authorized");
        let told = doctor(&endpoint, &discord).await;
        told.fails("permissions", &[&format!("dynamodb:{operation} on"), "history", "mneme tables policy"]);
    }
    let endpoint = Endpoint::with(&tables::all()).await;
    endpoint.refuse(
        "TransactWriteItems",
        "AccessDeniedException",
        "not authorized: dynamodb:ConditionCheckItem",
    );
    let told = doctor(&endpoint, &discord).await;
    told.fails("transactions", &["dynamodb:ConditionCheckItem", "mneme tables policy"]);
    discord.end().await;
}

#[tokio::test]
async fn a_store_without_transactions_is_none() {
    let (endpoint, discord) = (Endpoint::with(&tables::all()).await, Discord::start().await);
    endpoint.refuse("TransactWriteItems", "UnknownOperationException", "Unsupported operation");
    let words = "the store has no transactions, and every change is one";
    doctor(&endpoint, &discord).await.fails("transactions", &[words, "--store embedded"]);
    let told = said(on(at(&endpoint.url, "run"), &discord)).await;
    assert!(told.status != 0 && told.text.contains(words), "{}", told.text);
    endpoint.answer("TransactWriteItems", 200, json!({}));
    doctor(&endpoint, &discord).await.fails("transactions", &["whose condition cannot hold"]);
    discord.end().await;
}

#[tokio::test]
async fn recovery_that_is_off_is_a_warning() {
    let (endpoint, discord) = (Endpoint::with(&tables::all()).await, Discord::start().await);
    let described = |status: &str| {
        json!({ "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": status },
        }})
    };
    endpoint.answer("DescribeContinuousBackups", 200, described("DISABLED"));
    let told = doctor(&endpoint, &discord).await;
    told.warns("recovery", &["history", "aws dynamodb update-continuous-backups --table-name"]);
    endpoint.answer("DescribeContinuousBackups", 200, described("ENABLED"));
    doctor(&endpoint, &discord).await.tells("ok", "recovery", &["any second"]);
    endpoint.refuse("DescribeContinuousBackups", "AccessDeniedException", "no");
    doctor(&endpoint, &discord).await.warns("recovery", &["may not look"]);
    discord.end().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let (endpoint, discord) = (Endpoint::with(&tables::all()).await, Discord::start().await);
    let now = Clock::system().now();
    endpoint.set_date(now.plus(Duration::from_secs(3_600)));
    doctor(&endpoint, &discord).await.fails("clock", &["behind that of the store", "Set the clock"]);
    endpoint.set_date(now.minus(Duration::from_secs(120)));
    doctor(&endpoint, &discord).await.warns("clock", &["ahead of that of the store"]);
    discord.end().await;
}

#[tokio::test]
async fn what_the_portal_or_a_server_withholds_is_named() {
    let (endpoint, discord) = (Endpoint::with(&tables::all()).await, Discord::start().await);
    discord.simulator.change(|world: &mut World| world.portal(MESSAGE_CONTENT, false));
    let told = doctor(&endpoint, &discord).await;
    told.warns(
        "intents",
        &["message content is not allowed", "Message Content Intent in the developer portal"],
    );
    let mut command = on(at(&endpoint.url, "doctor"), &discord);
    command.env("MESSAGE_CONTENT_INTENT", "off");
    said(command).await.tells("ok", "intents", &["not asked for"]);

    discord.simulator.change(|world: &mut World| world.revoke(EMBED_LINKS));
    let told = doctor(&endpoint, &discord).await;
    told.warns(
        "permissions",
        &["in zoo", "lacks: Embed Links", "https://discord.com/oauth2/authorize?client_id="],
    );
    discord.simulator.change(|world: &mut World| {
        let (zoo, farm, bot) = (world.guild("zoo").id(), world.guild("farm").id(), world.bot());
        world.leave(zoo, bot);
        world.leave(farm, bot);
    });
    doctor(&endpoint, &discord).await.warns("servers", &["the bot is in none", "Invite it: https://"]);
    discord.end().await;
}

#[tokio::test]
async fn a_token_that_is_missing_or_unknown_is_named() {
    let (endpoint, discord) = (Endpoint::with(&tables::all()).await, Discord::start().await);
    let told = said(at(&endpoint.url, "doctor")).await;
    told.fails("token", &["DISCORD_TOKEN is not set", "developer portal"]);
    let mut command = on(at(&endpoint.url, "doctor"), &discord);
    command.env("DISCORD_TOKEN", TOKEN);
    said(command)
        .await
        .fails("token", &["Discord does not know this token", "Reset it in the developer portal"]);
    discord.simulator.faults().fail("GET /gateway", 1, 502, "<html>bad gateway</html>");
    doctor(&endpoint, &discord).await.fails("Discord", &["answers with status 502"]);
    discord.end_despite(|record| record.response["message"] == "401: Unauthorized").await;
}

#[tokio::test]
async fn the_file_of_a_running_bot_is_left_alone() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let doctor = async |folder: &std::path::Path| {
        let mut command = mneme(["doctor", "--store", "embedded", "--data-dir"]);
        command.arg(folder);
        said(on(command, &discord)).await
    };
    let new = data.path().join("new/folder");
    doctor(&new).await.tells("ok", "store", &["which the bot makes at its first start"]);
    assert!(!data.path().join("new").exists(), "looking makes nothing");
    std::fs::write(data.path().join("file"), "no folder").unwrap();
    doctor(&data.path().join("file/folder")).await.fails("store", &["cannot be made", "Set DATA_DIR"]);

    let mut bot = Mneme::start(run_on(&discord, data.path()));
    bot.is_ready().await;
    doctor(data.path()).await.warns("store", &[&format!("process {}", bot.id())]);
    assert!(bot.terminate().await.0.success());
    let told = doctor(data.path()).await;
    assert_eq!(told.status, 0, "{}", told.text);
    told.tells("ok", "transactions", &["nothing was written"]);
    discord.end().await;
}

#[tokio::test]
async fn a_bot_is_asked_for_its_health() {
    let (socket, url) = nobody();
    let address = url.strip_prefix("http://").unwrap();
    let health = async |address: &str, more: &[&str]| {
        let mut command = mneme(["health"].iter().chain(more));
        command.env("HTTP", address);
        said(command).await
    };
    let told = health("", &[]).await;
    assert!(told.status == 1 && told.text.contains("HTTP is not set"), "{}", told.text);
    let told = health(address, &[]).await;
    assert!(told.status == 1 && told.text.contains("does not answer (Connection refused"), "{}", told.text);

    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    // The port was free a moment ago and nobody else is told of it.
    drop(socket);
    let start = || {
        let mut command = run_on(&discord, data.path());
        command.env("HTTP", address);
        Mneme::start(command)
    };
    // It is served, or ready, a moment after it says that it is connected.
    let turns = async |more: &[&str], text: &str| {
        let wait = async { while !health(address, more).await.text.contains(text) {} };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it never answers {text:?}"));
    };
    discord.simulator.faults().no_hello(100);
    let bot = start();
    turns(&[], "alive").await;
    let told = health(address, &["--ready"]).await;
    assert!(told.status == 1 && told.text.contains("answers 503: not connected"), "{}", told.text);
    bot.kill().await;
    discord.simulator.faults().no_hello(0);
    let bot = start();
    turns(&["--ready"], "ready\n").await;
    for (more, word) in [(&[][..], "alive"), (&["--ready"][..], "ready")] {
        let told = health(address, more).await;
        assert!(told.status == 0 && told.text == format!("{word}\n"), "{}", told.text);
    }
    assert!(bot.terminate().await.0.success());
    discord.end().await;
}
