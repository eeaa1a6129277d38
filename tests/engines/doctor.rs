//! `mneme doctor` and `mneme tables` on a real engine: what they say of tables that fit and of tables that do
//! not.

use std::net::{Ipv4Addr, SocketAddr};

use mneme::dynamo::conformance::Engine;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::dynamo::{KeyAttribute, KeyKind, TableSpec};
use mneme::sim::{Simulator, World};
use mneme::tables;
use mneme::tasks::Tasks;
use tokio::process::Command;

use crate::{endpoint, engine};

/// A Discord and a prefix for tables of one test and one run.
struct Scene {
    simulator: Simulator,
    tasks: Tasks,
    prefix: String,
}

/// All that was said, and whether all is well.
struct Said {
    well: bool,
    text: String,
}

impl Scene {
    async fn of(test: &str) -> Self {
        let mut world = World::new(7);
        world.guild("zoo").channel("cats");
        let tasks = Tasks::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let simulator = Simulator::start(world, address, &tasks).await.expect("a free port on loopback");
        Self { simulator, tasks, prefix: format!("doctor-{test}-{}-", std::process::id()) }
    }

    async fn says(&self, arguments: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mneme"));
        command.args(arguments.split(' ')).env_clear();
        command.env("DYNAMODB_ENDPOINT", endpoint()).env("TABLE_PREFIX", &self.prefix);
        command.env("DISCORD_API_URL", self.simulator.url()).env("DISCORD_TOKEN", self.simulator.token());
        let output = command.output().await.expect("it can be started");
        let text = [output.stdout, output.stderr].concat();
        Said { well: output.status.success(), text: String::from_utf8(text).expect("it writes text") }
    }

    /// Makes all tables, the history in its own way.
    async fn with(&self, change: impl Fn(TableSpec) -> TableSpec) {
        let changed = |table: TableSpec| if table.name == "history" { change(table) } else { table };
        let specs: Vec<_> = tables::all().into_iter().map(changed).collect();
        let store = Store::Endpoint { url: endpoint(), region: Some("us-east-1".to_owned()) };
        let config = StoreConfig { table_prefix: self.prefix.clone(), ..StoreConfig::new(store) };
        let connected = connect(config).await.expect("the store opens");
        connected.dynamo.create_tables(&specs).await.expect("the tables are made");
    }

    fn end(self) {
        self.tasks.stop();
    }
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_what_was_created() {
    let scene = Scene::of("well").await;
    let before = scene.says("doctor").await;
    assert!(!before.well && before.text.contains("FAIL  tables       missing in"), "{}", before.text);
    for word in ["created", "there"] {
        let created = scene.says("tables create").await;
        assert!(created.well, "{}", created.text);
        let line = format!("{word:<8} {}history\n", scene.prefix);
        assert!(created.text.contains(&line), "{}", created.text);
    }
    let checked = scene.says("tables check").await;
    assert!(checked.well, "{}", checked.text);
    let after = scene.says("doctor").await;
    assert!(after.well && !after.text.contains("FAIL"), "{}", after.text);
    for about in ["endpoint", "keys", "indexes", "expiry", "permissions", "transactions", "clock"] {
        assert!(after.text.contains(&format!("\nok    {about:<12} ")), "{about}:\n{}", after.text);
    }
    // DynamoDB Local knows no recovery; where it is known, new tables have it switched off.
    let recovery = if engine() == Engine::DynamoDbLocal { "ok    recovery" } else { "warn  recovery" };
    assert!(after.text.contains(recovery), "{}", after.text);
    scene.end();
}

#[tokio::test]
async fn the_doctor_names_what_does_not_fit() {
    type Change = fn(TableSpec) -> TableSpec;
    let cases: [(&str, Change, &str, &str); 3] = [
        (
            "key",
            |table| TableSpec { hash: KeyAttribute { name: "server", kind: KeyKind::Text }, ..table },
            "FAIL  keys",
            "has the key server (S), entry (S), expected discord_server_id (N), entry (S)",
        ),
        (
            "index",
            |table| TableSpec { indexes: &[], ..table },
            "FAIL  indexes",
            "has no local index by_event",
        ),
        (
            "expiry",
            |table| TableSpec { expires: None, ..table },
            "warn  expiry",
            "nothing expires, expected expiry",
        ),
    ];
    for (name, change, start, words) in cases {
        let scene = Scene::of(name).await;
        scene.with(change).await;
        let said = scene.says("doctor").await;
        let named = said.text.lines().any(|line| line.starts_with(start) && line.contains(words));
        assert!(named && said.well == start.starts_with("warn"), "{}", said.text);
        let said = scene.says("tables check").await;
        assert!(!said.well && said.text.contains(words), "{}", said.text);
        scene.end();
    }
}
