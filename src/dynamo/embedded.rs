//! The embedded engine: DynamoDB on SQLite, in this process, plugged in under the SDK.
//!
//! It is an HTTP client without a socket: requests arrive in DynamoDB's own format and are answered in
//! it, so nothing above can tell the difference. One mutex over one file, every commit synced. What it
//! never does, the fault connector does for it: conflicts, throttling, lost replies.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How often expired records are deleted. They count as absent at once; this only frees the space.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// A handle to the engine; cloning gives another one to the same database.
#[derive(Clone)]
pub struct Embedded {
    database: Database,
    /// The engine does one thing at a time. Waiting for it here keeps the others from waiting as threads.
    turn: Arc<Semaphore>,
    /// Keeps other processes away from the file, as long as any handle lives.
    lock: Option<Arc<File>>,
    /// Answers on the caller's thread: for tests whose every step is to follow from a seed.
    at_once: bool,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedded(on a file: {})", self.lock.is_some())
    }
}

impl Embedded {
    pub fn memory() -> dynoxide::Result<Self> {
        Ok(Self::of(Database::memory()?))
    }

    pub(crate) fn open(path: &Path) -> dynoxide::Result<Self> {
        let path = path.to_str().ok_or_else(|| {
            DynoxideError::ValidationException(format!("{} is not valid text", path.display()))
        })?;
        Ok(Self::of(Database::new(path)?))
    }

    fn of(database: Database) -> Self {
        Self { database, turn: Arc::new(Semaphore::new(1)), lock: None, at_once: false }
    }

    pub(crate) fn holding(self, lock: Arc<File>) -> Self {
        Self { lock: Some(lock), ..self }
    }

    /// Answers without another thread, so that what runs in virtual time runs the same way every time.
    pub(crate) fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    /// Deletes expired records from time to time, until shutdown.
    pub async fn sweep(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
            match self.blocking(|database| database.sweep_ttl()).await {
                Ok(count) => debug!(count, "deleted expired records"),
                Err(error) => warn!(%error, "expired records were not deleted"),
            }
        }
    }

    /// Deletes expired records now and tells how many.
    pub async fn sweep_now(&self) -> dynoxide::Result<usize> {
        self.blocking(|database| database.sweep_ttl()).await
    }

    /// Writes a consistent copy to a new file while the bot runs. A copy of the file alone is none: the
    /// newest commits are in the file beside it.
    pub async fn back_up(&self, path: &Path) -> dynoxide::Result<()> {
        let path = path.display().to_string();
        self.blocking(move |database| database.vacuum_into(&path)).await
    }

    async fn blocking<A: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> dynoxide::Result<A> + Send + 'static,
    ) -> dynoxide::Result<A> {
        let database = self.database.clone();
        let result = tokio::task::spawn_blocking(move || work(&database)).await;
        result.unwrap_or_else(|panic| Err(DynoxideError::InternalServerError(panic.to_string())))
    }
}

impl HttpClient for Embedded {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Embedded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (database, turn) = (self.database.clone(), self.turn.clone());
        if self.at_once {
            return HttpConnectorFuture::new(async move { answer(&database, &request) });
        }
        HttpConnectorFuture::new(async move {
            let turn = turn.acquire_owned().await.expect("the semaphore is never closed");
            // SQLite blocks. A caller that gives up does not stop the write: as on a network.
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                answer(&database, &request)
            });
            work.await.map_err(|panic| ConnectorError::other(panic.into(), None))?
        })
    }
}

fn answer(database: &Database, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let (status, json) = match dispatch(database, target, request.body().bytes().unwrap_or_default()) {
        Ok(json) => (200, json),
        Err(error) => (error.status_code(), error.to_json()),
    };
    let status = status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    Ok(HttpResponse::new(status, json.into()))
}

/// The operations that mneme uses. A scan is none of them.
fn dispatch(database: &Database, target: &str, body: &[u8]) -> dynoxide::Result<String> {
    match target.trim_start_matches("DynamoDB_20120810.") {
        "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
        "GetItem" => run(body, |request| database.get_item(request)),
        "PutItem" => run(body, |request| database.put_item(request)),
        "UpdateItem" => run(body, |request| database.update_item(request)),
        "DeleteItem" => run(body, |request| database.delete_item(request)),
        "Query" => run(body, |request| database.query(request)),
        "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
        "CreateTable" => run(body, |request| database.create_table(request)),
        "DescribeTable" => run(body, |request| database.describe_table(request)),
        "UpdateTimeToLive" => run(body, |request| database.update_time_to_live(request)),
        "DescribeTimeToLive" => run(body, |request| database.describe_time_to_live(request)),
        other => Err(DynoxideError::ValidationException(format!("{other} is not an operation of mneme"))),
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> dynoxide::Result<String> {
    let request = serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
    serde_json::to_string(&operation(request)?)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// The engine's decoders mark what DynamoDB calls an invalid value, as opposed to a malformed request.
fn unreadable(message: &str) -> DynoxideError {
    let marks = ["VALIDATION:", "VALIDATION_REQUEST:", "VALIDATION_AS_READ:"];
    match marks.iter().find_map(|mark| message.strip_prefix(mark)) {
        Some(message) => DynoxideError::ValidationException(message.to_owned()),
        None => DynoxideError::SerializationException(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::ProvideErrorMetadata;
    use serde::Deserialize;

    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::faults::Faults;
    use crate::dynamo::testing::{engine, over};
    use crate::dynamo::{Dynamo, Table, TableSpec};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        key: String,
        expires_at: Option<i64>,
    }

    impl Table for Note {
        const NAME: &'static str = "note";
        const KEY: &'static [&'static str] = &["key"];
        const EXPIRES: Option<&'static str> = Some("expires_at");
        type Key = String;

        fn key(&self) -> String {
            self.key.clone()
        }
    }

    const TABLES: &[TableSpec] = &[TableSpec::of::<Note>()];

    fn note(key: &str, expires_at: Option<i64>) -> Note {
        Note { key: key.to_owned(), expires_at }
    }

    fn handle(engine: &Embedded) -> Dynamo {
        over(engine, Clock::system(), &Faults::new())
    }

    #[tokio::test]
    async fn nothing_scans() {
        let dynamo = handle(&engine(TABLES).await);
        let failed = dynamo.client().scan().table_name("note").send().await.unwrap_err();
        assert_eq!(failed.code(), Some("ValidationException"));
    }

    #[tokio::test]
    async fn only_what_has_expired_is_swept() {
        let engine = engine(TABLES).await;
        let dynamo = handle(&engine);
        dynamo.put(&note("old", Some(1))).await.unwrap();
        dynamo.put(&note("new", Some(4_000_000_000))).await.unwrap();
        dynamo.put(&note("lasting", None)).await.unwrap();
        assert_eq!(engine.sweep_now().await.unwrap(), 1);
        assert!(dynamo.get::<Note>("new".to_owned()).await.unwrap().is_some());
        assert!(dynamo.get::<Note>("lasting".to_owned()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_backup_made_while_the_bot_runs_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.db");
        let engine = engine(TABLES).await;
        handle(&engine).put(&note("a", None)).await.unwrap();
        engine.back_up(&path).await.unwrap();
        handle(&engine).put(&note("b", None)).await.unwrap();
        let backup = handle(&Embedded::open(&path).unwrap());
        assert_eq!(backup.get("a".to_owned()).await.unwrap(), Some(note("a", None)));
        assert_eq!(backup.get::<Note>("b".to_owned()).await.unwrap(), None);
    }
}
