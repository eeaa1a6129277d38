//! From a [`StoreConfig`] to a [`Dynamo`]: which store, how long to wait for it, and who else has it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, SharedHttpClient};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_smithy_http_client::tls;
use tokio::time::timeout;

use crate::backstage::Backstage;
use crate::clock::Clock;
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::Faults;
use crate::dynamo::tap::tapped;
use crate::dynamo::{CONFIRM_FOR, Client, Dynamo, Patience};

/// Looking for a region, or for credentials: a container or an instance answers in milliseconds.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);

/// How often the SDK sends a request at most. Beyond that the store is away, not busy.
const ATTEMPTS_MAX: u32 = 4;

/// The SDK's first pause between attempts is up to this; each further one up to twice as long.
const BACKOFF: Duration = Duration::from_millis(25);

/// The longest pause between attempts: the next one has to end before Discord's three seconds.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// One attempt, connecting included. A healthy table answers in 10 ms, another continent in 300.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// All attempts of one request. Discord waits three seconds for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2_500);
const _: () = assert!(REQUEST_TIMEOUT.as_millis() < 3_000, "Discord waits for three seconds");

/// A request to the embedded engine is not lost on the way, but a busy disk may stall for seconds. Whoever
/// waits for an answer has a limit of their own.
pub(crate) const EMBEDDED_TIMEOUT: Duration = Duration::from_secs(30);

/// Region and credentials for stores that ask for some and do not care which.
const LOCAL_REGION: &str = "us-east-1";
const LOCAL_CREDENTIALS: &str = "test";

/// Which store to use, and how.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub store: Store,
    /// Stands before the name of every table.
    pub table_prefix: String,
    pub clock: Clock,
    /// What may happen on the way to the store, for the playground and for tests.
    pub faults: Option<Faults>,
    /// Who hears what the store is asked; for the playground.
    pub backstage: Option<Backstage>,
    pub patience: Patience,
}

impl StoreConfig {
    pub fn new(store: Store) -> Self {
        let patience = Patience::DEFAULT;
        Self {
            store,
            table_prefix: String::new(),
            clock: Clock::system(),
            faults: None,
            backstage: None,
            patience,
        }
    }

    /// What is lost on the way is heard as lost: so the tap is around the faults.
    fn around(&self, http: SharedHttpClient) -> SharedHttpClient {
        let http = match &self.faults {
            Some(faults) => faults.around(http),
            None => http,
        };
        match &self.backstage {
            Some(backstage) => tapped(http, backstage.clone()),
            None => http,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Store {
    /// The embedded engine, gone with the process.
    Memory,
    /// The same, answering on the caller's own thread: for simulations in virtual time.
    Inline,
    /// The embedded engine on this file, which no other process may have open.
    File(PathBuf),
    /// DynamoDB Local, LocalStack and the like. With `http` the credentials are those of the environment
    /// or made up, with `https` the SDK's usual chain.
    Endpoint { url: String, region: Option<String> },
    /// Amazon, by the SDK's usual chain: environment, profile, web identity, container, instance.
    Aws { region: Option<String> },
}

/// An open store; a clone is another handle to the same one.
#[derive(Clone)]
pub struct Connected {
    pub dynamo: Dynamo,
    /// The engine in this process, if that is the store: for backups and to delete expired records.
    pub embedded: Option<Embedded>,
    /// How it is reached, if it is not in this process.
    pub way: Option<Way>,
    /// For people: `embedded (data/mneme.db)`, `DynamoDB eu-central-1`.
    pub description: String,
}

/// The way to a store over a network.
#[derive(Clone, Debug)]
pub struct Way {
    /// The endpoint that was set; `None` is Amazon's own.
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) credentials: Option<SharedCredentialsProvider>,
}

/// Why a store was not opened, where the operator can help.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    #[error("no AWS region is configured: set AWS_REGION")]
    NoRegion,
    #[error("{} is in use by another mneme, process {holder}; stop that one first", path.display())]
    InUse { path: PathBuf, holder: String },
}

/// Opens the store. Nothing is sent yet, and no table is created.
pub async fn connect(config: StoreConfig) -> anyhow::Result<Connected> {
    match &config.store {
        Store::Memory => {
            let engine = Embedded::memory().context("open the embedded engine in memory")?;
            Ok(embedded(engine, &config, "embedded (in memory)".to_owned()))
        }
        Store::Inline => {
            let engine =
                Embedded::memory().map(Embedded::at_once).context("open the embedded engine in memory")?;
            Ok(embedded(engine, &config, "embedded (in memory)".to_owned()))
        }
        Store::File(path) => {
            let engine = open(path)?;
            Ok(embedded(engine, &config, format!("embedded ({})", path.display())))
        }
        Store::Endpoint { url, region } => {
            let sdk = endpoint(url, region.clone()).await;
            Ok(remote(&sdk, &config, format!("DynamoDB at {url}")))
        }
        Store::Aws { region } => {
            // Without a region in the settings an instance's own is asked for, which takes long where there is none.
            let sdk = timeout(LOOKUP_TIMEOUT, usual_chain(region.clone()).load()).await;
            let sdk = sdk.map_err(|_| Unopened::NoRegion)?;
            let name = sdk.region().ok_or(Unopened::NoRegion)?.to_string();
            Ok(remote(&sdk, &config, format!("DynamoDB {name}")))
        }
    }
}

/// A [`Dynamo`] over an HTTP client that needs no network: the embedded engine, or one around it.
pub(crate) fn in_process(http: SharedHttpClient, config: &StoreConfig) -> Dynamo {
    let timeout = TimeoutConfig::builder().operation_timeout(EMBEDDED_TIMEOUT).build();
    let builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(config.around(http))
        .region(Region::new(LOCAL_REGION))
        .endpoint_url("http://embedded.invalid")
        .credentials_provider(local_credentials())
        .timeout_config(timeout);
    finish(builder, config)
}

fn embedded(engine: Embedded, config: &StoreConfig, description: String) -> Connected {
    let dynamo = in_process(SharedHttpClient::new(engine.clone()), config);
    Connected { dynamo, embedded: Some(engine), way: None, description }
}

fn remote(sdk: &aws_config::SdkConfig, config: &StoreConfig, description: String) -> Connected {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.patience.attempt)
        .operation_attempt_timeout(config.patience.attempt)
        .operation_timeout(config.patience.request)
        .build();
    let http = sdk.http_client().expect("`endpoint` and `usual_chain` give one");
    let builder = Builder::from(sdk).http_client(config.around(http)).timeout_config(timeouts);
    let way = Way {
        endpoint: sdk.endpoint_url().map(str::to_owned),
        region: sdk.region().map(ToString::to_string),
        credentials: sdk.credentials_provider(),
    };
    Connected { dynamo: finish(builder, config), embedded: None, way: Some(way), description }
}

fn finish(builder: Builder, config: &StoreConfig) -> Dynamo {
    let patience = config.patience;
    static CLIENTS: AtomicU64 = AtomicU64::new(0);
    // The SDK keeps one quota of retries by partition and process; a client in trouble must not use up
    // that of another.
    let partition = RetryPartition::new(format!("mneme-{}", CLIENTS.fetch_add(1, Ordering::Relaxed)));
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(patience.backoff)
        .with_max_backoff(patience.backoff_max);
    let builder = builder.retry_config(retries).retry_partition(partition).retry_classifier(Conflicts);
    let client = Client::from_conf(builder.build());
    Dynamo::new(client, config.clock.clone(), config.table_prefix.clone(), patience)
}

/// A write of one record that meets a transaction is refused, not applied, and worth another attempt; the
/// SDK alone would give up.
#[derive(Debug)]
struct Conflicts;

impl ClassifyRetry for Conflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        let Some(error) = error.and_then(|error| error.as_operation_error()) else {
            return RetryAction::NoActionIndicated;
        };
        let put = error.downcast_ref().is_some_and(PutItemError::is_transaction_conflict_exception);
        let update = error.downcast_ref().is_some_and(UpdateItemError::is_transaction_conflict_exception);
        let delete = error.downcast_ref().is_some_and(DeleteItemError::is_transaction_conflict_exception);
        if put || update || delete { RetryAction::throttling_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "Conflicts"
    }
}

impl Patience {
    pub const DEFAULT: Self = Self {
        attempt: ATTEMPT_TIMEOUT,
        request: REQUEST_TIMEOUT,
        confirm_for: CONFIRM_FOR,
        backoff: BACKOFF,
        backoff_max: BACKOFF_MAX,
    };
}

fn local_credentials() -> Credentials {
    Credentials::new(LOCAL_CREDENTIALS, LOCAL_CREDENTIALS, None, None, "local")
}

fn https() -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    aws_smithy_http_client::Builder::new().tls_provider(provider).build_https()
}

async fn endpoint(url: &str, region: Option<String>) -> aws_config::SdkConfig {
    if url.starts_with("https:") {
        return usual_chain(region).endpoint_url(url).load().await;
    }
    let region = RegionProviderChain::first_try(region.map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(Region::new(LOCAL_REGION));
    let environment = EnvironmentVariableCredentialsProvider::new();
    let credentials =
        CredentialsProviderChain::first_try("environment", environment).or_else("local", local_credentials());
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https()).endpoint_url(url);
    loader.region(region).credentials_provider(credentials).load().await
}

fn usual_chain(region: Option<String>) -> aws_config::ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https());
    match region {
        Some(region) => loader.region(Region::new(region)),
        None => loader,
    }
}

/// Opens the embedded engine on a file, for this process alone: two engines would each believe that
/// nobody else writes.
fn open(path: &Path) -> anyhow::Result<Embedded> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create the folder {}", folder.display()))?;
    }
    let lock = lock(path)?;
    let engine = Embedded::open(path).with_context(|| format!("open the database {}", path.display()))?;
    Ok(engine.holding(Arc::new(lock)))
}

/// The lock goes with the process, however it ends; the file stays and names the last holder.
fn lock(path: &Path) -> anyhow::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name);
    let mut file = opened.with_context(|| format!("open {}", name.display()))?;
    if file.try_lock().is_err() {
        let mut holder = String::new();
        file.read_to_string(&mut holder).context("read who holds the database")?;
        bail!(Unopened::InUse { path: path.to_owned(), holder: holder.trim().to_owned() });
    }
    file.set_len(0).and_then(|()| file.rewind()).context("write who holds the database")?;
    writeln!(file, "{}", std::process::id()).context("write who holds the database")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::dynamo::{Error, Table};

    #[derive(Serialize, Deserialize)]
    struct Note {
        key: String,
    }

    impl Table for Note {
        const NAME: &'static str = "note";
        const KEY: &'static [&'static str] = &["key"];
        type Key = String;

        fn key(&self) -> String {
            self.key.clone()
        }
    }

    async fn put_at(listener: &TcpListener) -> Result<(), Error> {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = StoreConfig::new(Store::Endpoint { url, region: None });
        let dynamo = connect(config).await.unwrap().dynamo;
        dynamo.put(&Note { key: "a".to_owned() }).await
    }

    #[tokio::test]
    async fn a_file_has_one_process_and_keeps_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/mneme.db");
        let open = || connect(StoreConfig::new(Store::File(path.clone())));
        let first = open().await.unwrap();
        let refused = open().await.err().unwrap().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        open().await.unwrap();
    }

    #[tokio::test]
    async fn where_nobody_listens_nothing_is_written() {
        // Not listening, so that connections are refused; held, so that nobody else gets the port.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let config = StoreConfig::new(Store::Endpoint { url, region: None });
        let dynamo = connect(config).await.unwrap().dynamo;
        let put = dynamo.put(&Note { key: "a".to_owned() }).await;
        assert!(matches!(put, Err(Error::Unavailable(_))), "{put:?}");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_after_the_request_leaves_it_uncertain() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = async {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4_096]).await;
            }
        };
        let put = tokio::select! {
            put = put_at(&listener) => put,
            () = server => unreachable!("it goes on"),
        };
        assert!(matches!(put, Err(Error::Uncertain(_))), "{put:?}");
    }
}
