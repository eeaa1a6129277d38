//! Why a request to the store failed, for the operator: a [`Finding`] instead of a chain of types.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::dynamo::connect::Way;
use crate::finding::{Finding, quote, root_cause};

/// What to do about credentials that are missing.
pub(super) const GIVE_CREDENTIALS: &str = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the \
     machine, the task or the pod a role";

impl Way {
    /// For people: `DynamoDB in eu-central-1`, `http://127.0.0.1:8000`.
    pub(super) fn place(&self) -> String {
        match (&self.endpoint, &self.region) {
            (Some(url), _) => url.clone(),
            (None, Some(region)) => format!("DynamoDB in {region}"),
            (None, None) => "DynamoDB".to_owned(),
        }
    }

    /// What to look at when nobody answers there.
    fn look(&self) -> String {
        match (&self.endpoint, &self.region) {
            (Some(_), _) => "Is it running, and DYNAMODB_ENDPOINT right?".to_owned(),
            (None, region) => format!(
                "Is AWS_REGION={} a region, and the network there? A private subnet needs an endpoint for \
                 DynamoDB",
                region.as_deref().unwrap_or_default()
            ),
        }
    }

    pub(super) fn trouble<E, R>(&self, failed: &SdkError<E, R>) -> Finding
    where
        E: StdError + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        let place = self.place();
        match failed {
            SdkError::ServiceError(service) => {
                let error = service.err();
                self.refusal(error.code().unwrap_or_default(), error.message().unwrap_or_default())
            }
            SdkError::TimeoutError(_) => {
                Finding::fail("endpoint", format!("{place} does not answer in time"), self.look())
            }
            SdkError::ResponseError(_) => self.not_dynamodb(),
            other => {
                let cause = root_cause(other);
                Finding::fail("endpoint", format!("{place} cannot be reached ({cause})"), self.look())
            }
        }
    }

    fn not_dynamodb(&self) -> Finding {
        let found = format!("what answers at {} does not speak DynamoDB", self.place());
        Finding::fail("endpoint", found, "Is DYNAMODB_ENDPOINT right?")
    }

    /// What DynamoDB's error codes mean for whoever runs the bot.
    fn refusal(&self, code: &str, message: &str) -> Finding {
        let clock = ["not yet current", "Signature expired"].iter().any(|words| message.contains(words));
        match code {
            "RequestExpired" | "RequestTimeTooSkewed" => too_skewed(),
            "InvalidSignatureException" | "SignatureDoesNotMatch" if clock => too_skewed(),
            "InvalidSignatureException" | "SignatureDoesNotMatch" => Finding::fail(
                "credentials",
                "the signature was refused",
                "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID; set both anew",
            ),
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "IncompleteSignature"
            | "IncompleteSignatureException" => Finding::fail(
                "credentials",
                "the access key is not known, or not in this partition",
                "Look at AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN and AWS_REGION; is the key deleted or switched off?",
            ),
            "MissingAuthenticationToken" | "MissingAuthenticationTokenException" => {
                Finding::fail("credentials", "the request was not signed", GIVE_CREDENTIALS)
            }
            "ExpiredToken" | "ExpiredTokenException" => Finding::fail(
                "credentials",
                "the credentials have expired",
                "Sign in again (aws sso login), or use a role that renews them",
            ),
            _ if is_denied(code) => Finding::fail("permissions", quote(message), POLICY),
            "" => self.not_dynamodb(),
            _ => Finding::fail(
                "endpoint",
                format!("{} answers {code}: {}", self.place(), quote(message)),
                self.look(),
            ),
        }
    }
}

/// What to do about permissions that are missing.
pub(super) const POLICY: &str = "Give the bot's role the policy that this prints: mneme tables policy";

pub(super) fn is_denied(code: &str) -> bool {
    matches!(code, "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized")
}

/// What engines say about operations that they do not have.
pub(super) fn is_unknown_operation(code: &str) -> bool {
    matches!(code, "UnknownOperationException" | "UnknownOperation" | "InvalidAction" | "NotImplemented")
}

fn too_skewed() -> Finding {
    Finding::fail(
        "clock",
        "Amazon refuses what this machine signs, because its clock is wrong",
        "Set the clock; let a time service (chrony, systemd-timesyncd) keep it right",
    )
}
