//! [`Error`]: why the store did not do what it was asked to, in words of ours; and the bookkeeping that
//! tells "was not written" from "nobody knows".
//!
//! The SDK sends a request again when an attempt fails, and only shows how the last attempt ended. So
//! [`Attempts`] looks at each of them: a write is certainly not applied only if no attempt can have been.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::ConnectorError;

pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// Why the store did not do what it was asked to. A condition that does not hold is not among them: it
/// is an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was written.
    #[error("the store could not be reached")]
    Unavailable(#[source] Source),
    /// Sent, and never confirmed: written or not.
    #[error("the store did not confirm the write")]
    Uncertain(#[source] Source),
    /// Nothing was written: too many requests at once.
    #[error("the store asked to slow down")]
    Throttled(#[source] Source),
    /// Nothing was written: a record beyond 400 KB, or more pages or writes than fit.
    #[error("too large for the store")]
    TooLarge(#[source] Source),
    /// What is stored cannot be read as this record.
    #[error("a record in {table} cannot be read")]
    Corrupt { table: &'static str, source: Source },
    /// Nothing was written: a missing table or permission, or a bug of ours.
    #[error("the store rejected the request")]
    Rejected(#[source] Source),
}

impl Error {
    /// Whether it is unknown if something was written.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::Uncertain(_))
    }
}

/// What became of the attempts of one request, or of several with the same effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// An attempt is on its way. If the request ends like this, by a timeout, nobody waited for it.
    in_flight: AtomicBool,
    /// An attempt was sent, and what came back does not tell whether it was applied.
    unresolved: AtomicBool,
}

impl Attempts {
    /// Whether an attempt without a clear answer may have been applied.
    pub(crate) fn maybe_applied(&self) -> bool {
        self.0.in_flight.load(Ordering::SeqCst) || self.0.unresolved.load(Ordering::SeqCst)
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The attempt before this one was given up by a timeout around the whole request.
        if self.0.in_flight.swap(true, Ordering::SeqCst) {
            self.0.unresolved.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let sent = self.0.in_flight.swap(false, Ordering::SeqCst);
        let clear = match context.output_or_error() {
            Some(Ok(_)) => true,
            Some(Err(error)) => certainly_not_applied(error, context.response()),
            None => false,
        };
        if sent && !clear {
            self.0.unresolved.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn certainly_not_applied<E>(error: &OrchestratorError<E>, response: Option<&HttpResponse>) -> bool {
    if error.is_operation_error() {
        // DynamoDB's failures with 5xx may come after the write; its refusals with 4xx never do.
        return response.is_some_and(|response| response.status().is_client_error());
    }
    error.as_connector_error().is_some_and(never_sent)
}

/// There was no connection to send it over.
fn never_sent(error: &ConnectorError) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = source {
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let connecting = |error: &hyper_util::client::legacy::Error| error.is_connect();
        if error.downcast_ref().is_some_and(refused) || error.downcast_ref().is_some_and(connecting) {
            return true;
        }
        source = error.source();
    }
    false
}

/// A failed read, or a write of which no attempt was applied.
pub(crate) fn not_applied<E, R>(error: SdkError<E, R>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let SdkError::ServiceError(service) = &error else {
        return match error {
            SdkError::ConstructionFailure(_) => Error::Rejected(Box::new(error)),
            _ => Error::Unavailable(Box::new(error)),
        };
    };
    let code = service.err().code().unwrap_or_default();
    let message = service.err().message().unwrap_or_default();
    refusal(code, message)(in_words(error))
}

/// What the store said, for logs and operators: the SDK would show its types.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message} (request {request})")]
struct Said {
    code: String,
    message: String,
    request: String,
}

/// The error as it is, or the store's own words.
pub(crate) fn in_words<E, R>(error: SdkError<E, R>) -> Source
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let SdkError::ServiceError(service) = &error else { return Box::new(error) };
    let meta = service.err().meta();
    let text = |text: Option<&str>| text.unwrap_or("without a name").to_owned();
    Box::new(Said {
        code: text(meta.code()),
        message: text(meta.message()),
        request: text(meta.extra("aws_request_id")),
    })
}

/// What DynamoDB's error codes mean, in our words.
pub(crate) fn refusal(code: &str, message: &str) -> fn(Source) -> Error {
    match code {
        "ThrottlingException"
        | "ThrottlingError"
        | "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "RequestLimitExceeded"
        | "TransactionConflictException"
        | "TransactionConflict"
        | "TransactionInProgressException" => Error::Throttled,
        "ItemCollectionSizeLimitExceededException" | "ItemCollectionSizeLimitExceeded" => Error::TooLarge,
        // DynamoDB has no code of its own for an item beyond 400 KB.
        _ if message.contains("exceeded the maximum allowed size") => Error::TooLarge,
        "InternalServerError" | "ServiceUnavailable" | "InternalFailure" | "" => Error::Unavailable,
        _ => Error::Rejected,
    }
}

/// A failed write.
pub(crate) fn failed_write<E, R>(error: SdkError<E, R>, attempts: &Attempts) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    if attempts.maybe_applied() { Error::Uncertain(in_words(error)) } else { not_applied(error) }
}
