//! The executable: reads the settings, starts one role, and ends with a status that says how it went.

use anyhow::{Context, bail};
use clap::CommandFactory;
use mneme::bot::Exit;
use mneme::config::{self, Cli, DataAct, LogFormat, Role, TablesAct};
use mneme::dynamo::connect::Connected;
use mneme::finding::State;
use mneme::run::{instance, open_store};
use mneme::shared::{SharedData, SharedOptions, Space};
use mneme::tasks::Tasks;
use mneme::{army, data, doctor, playground, relay, run, shared, tables, telemetry, web};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// Ended by a second Ctrl-C: 128 + SIGINT, as shells count.
const INTERRUPTED: i32 = 130;

fn main() {
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    let outcome = tokio::runtime::Runtime::new()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(start(cli.role)));
    let status = match outcome {
        Ok(exit) => exit.code(),
        Err(error) => {
            eprintln!("mneme: {error:#}");
            1
        }
    };
    // Not by returning: a task that never yields would keep the process alive.
    std::process::exit(status)
}

async fn start(role: Role) -> anyhow::Result<Exit> {
    let tasks = Tasks::new();
    match role {
        Role::Run(options) => {
            start_telling(&options, &tasks)?;
            until_signalled(&tasks, run::run(*options, &tasks)).await
        }
        Role::Playground(options) => {
            start_logging(&options.log)?;
            // There is no supervisor in a playground, so a restart that an owner wants is made here.
            loop {
                let settings = playground::Settings {
                    address: options.address,
                    port: options.port,
                    any_port: options.port == config::PLAYGROUND_PORT,
                    data_dir: options.data_dir.clone(),
                    instance: instance(&options.bot),
                    http: options.http,
                    sign_in: options.sign_in,
                    relay: playground_relay(&options)?,
                    accounts: options.accounts.clone(),
                };
                let tasks = Tasks::new();
                match until_signalled(&tasks, playground::run(settings, &tasks)).await? {
                    Exit::Restart => info!("starting anew"),
                    exit => return Ok(exit),
                }
            }
        }
        Role::Tables(options) => {
            start_logging(&options.log)?;
            show_tables(options).await
        }
        Role::Doctor(options) => {
            start_logging(&options.log)?;
            Ok(doctor::examine(&options).await)
        }
        Role::Health(options) => {
            println!("{}", web::ask_health(options.web.http, options.ready).await?);
            Ok(Exit::Asked)
        }
        Role::Data(options) => {
            start_logging(&options.log)?;
            move_data(*options).await
        }
        Role::Shared(options) => {
            start_logging(&options.log)?;
            until_signalled(&tasks, share(options, &tasks)).await
        }
        Role::Config(options) => {
            relay::tree::command::run(&options.relay, &options.act, &mut std::io::stdout())?;
            Ok(Exit::Asked)
        }
        Role::Relay(options) => {
            start_logging(&options.log)?;
            std::process::exit(relay_desk(*options).await?)
        }
        Role::Army(army) => {
            telemetry::start(&army.log, false).context("--log is not a filter")?;
            let mouth = army::command::Mouth { say: &|out| print!("{out}"), tell: &|err| eprint!("{err}") };
            until_signalled(&tasks, async {
                match army::command::start(&army.act, &mouth, tasks.shutdown()).await {
                    0 => Ok(Exit::Asked),
                    // Those of the army say more than a bot's.
                    code => std::process::exit(code),
                }
            })
            .await
        }
        Role::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "mneme", &mut std::io::stdout());
            Ok(Exit::Asked)
        }
    }
}

fn start_logging(log: &config::Log) -> anyhow::Result<()> {
    telemetry::start(&log.log, log.log_format == LogFormat::Json).context("LOG is not a filter")
}

/// Logs, and traces where somebody collects them.
fn start_telling(options: &config::Run, tasks: &Tasks) -> anyhow::Result<()> {
    let Some(endpoint) = &options.traces.otlp_endpoint else { return start_logging(&options.log) };
    let (traces, exporter) = telemetry::traces::pair(endpoint, &std::process::id().to_string());
    let json = options.log.log_format == LogFormat::Json;
    telemetry::start_with(&options.log.log, json, Some(traces)).context("LOG is not a filter")?;
    tasks.spawn("traces", exporter.run(tasks.shutdown()));
    Ok(())
}

/// Ctrl-C and SIGTERM end the work in order; a second one ends the process at once.
async fn until_signalled(
    tasks: &Tasks,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let signals = async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if tasks.shutdown().is_cancelled() {
                army::screen::restore();
                std::process::exit(INTERRUPTED);
            }
            info!("stopping; once more to stop at once");
            tasks.stop();
        }
    };
    tokio::select! {
        outcome = work => outcome,
        () = signals => Ok(Exit::Asked),
    }
}

/// What an operator asks of the relay; the status to exit with.
async fn relay_desk(options: config::RelayDesk) -> anyhow::Result<i32> {
    let mut out = std::io::stdout();
    if let config::RelayAct::Key = options.act {
        return relay::command::new_key(&mut out).map(|()| 0);
    }
    let signs =
        matches!(options.act, config::RelayAct::Send { .. } | config::RelayAct::Retry { again: true, .. });
    let routes = relay::tree::command::routes(&options.relay, signs)?;
    let opened = open_store(&options.store).await;
    let connected = opened.context(
        "open the bot's store; while a bot has the embedded one open, ask it with .relay, and publish by a source `scripts`",
    )?;
    let tables = relay::store::Tables(connected.dynamo);
    let now = tables.0.now();
    relay::command::Office { tables: &tables, routes: &routes, now, ask: &ask }
        .run(&options.act, &mut out)
        .await
}

/// Asks whoever sits at the terminal.
fn ask(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

async fn share(options: config::Shared, tasks: &Tasks) -> anyhow::Result<Exit> {
    let space = Space::parse(&options.space).context("a space is bot, server/<id>, run/<id> or runs")?;
    let connected = open_store(&options.store).await?;
    let shared = SharedData::open(connected.dynamo, tasks, space, SharedOptions::default());
    let mut out = std::io::stdout();
    let command = shared::cli::run(&shared, &options.act, options.json, &mut out);
    // A watch lasts until it is stopped.
    tasks.shutdown().run_until_cancelled(command).await.unwrap_or(Ok(()))?;
    Ok(Exit::Asked)
}

/// What is done goes to the error output, what came of it to the output.
async fn move_data(options: config::Data) -> anyhow::Result<Exit> {
    let tell = |line: &str| eprintln!("{line}");
    let report = match &options.act {
        DataAct::Adopt(adopt) => data::adopt(&options, adopt, &tell).await?,
        DataAct::Export { file, days_ahead } => data::export(&options, file, *days_ahead, &tell).await?,
        DataAct::Import { file, dry_run, overwrite } => {
            let how = data::How { dry_run: *dry_run, overwrite: *overwrite };
            data::import(&options, file, how, &tell).await?
        }
        DataAct::Verify { file } => data::verify(file, &tell).await?,
    };
    print!("{report}");
    Ok(Exit::Asked)
}

async fn show_tables(options: config::Tables) -> anyhow::Result<Exit> {
    match options.act {
        TablesAct::List => print!("{}", tables::list(&options.store.table_prefix)),
        TablesAct::Json => println!("{}", tables::json()),
        TablesAct::Policy => println!("{}", tables::policy_for(&options.store.table_prefix)),
        TablesAct::Create => {
            let connected = open_store(&options.store).await?;
            reach(&connected).await?;
            let made = connected.dynamo.create_tables(&tables::all()).await.context("create the tables")?;
            for made in made {
                println!("{:<8} {}", tables::done(&made), made.table);
            }
            compare(&connected, &options.store).await?;
        }
        TablesAct::Check => {
            let connected = open_store(&options.store).await?;
            reach(&connected).await?;
            compare(&connected, &options.store).await?;
        }
    }
    Ok(Exit::Asked)
}

/// Says why a store cannot be reached, in place of a request's own error.
async fn reach(connected: &Connected) -> anyhow::Result<()> {
    let specs = tables::all();
    let reached = connected.reach(specs.first().context("there are tables")?).await;
    match reached.findings.into_iter().find(|finding| finding.state == State::Fail) {
        Some(failed) => bail!("{failed}"),
        None => Ok(()),
    }
}

/// Prints each difference between the tables that are there and those that are declared; one is enough to
/// fail.
async fn compare(connected: &Connected, options: &config::Store) -> anyhow::Result<()> {
    let specs = tables::all();
    let differences = connected.dynamo.check_tables(&specs).await.context("check the tables")?;
    let create = run::command("tables create", options);
    for difference in &differences {
        println!("{difference}. {}", difference.remedy(&create));
    }
    let (count, place) = (specs.len(), &connected.description);
    if !differences.is_empty() {
        bail!("the tables in {place} are not as the bot needs them");
    }
    println!("The {count} tables in {place} are as the bot needs them.");
    Ok(())
}

/// The relay that a playground is to have.
fn playground_relay(options: &config::Playground) -> anyhow::Result<Option<relay::settings::Settings>> {
    let Some(folder) = options.relay.clone() else { return Ok(None) };
    let options =
        config::Relay { config: Some(folder), bot_name: options.bot_name.clone(), secrets_dir: None };
    run::relay_settings(&options).map_err(|flaws| anyhow::anyhow!(flaws.join("\n")))
}
