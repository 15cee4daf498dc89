//! The job queues over the AWS SDK, with credentials that the fleet function lends for an hour at most.
//! One HTTP client outlives every renewal, so that its connections stay open.

use super::api::{Api, CallError};
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use kiln_core::fleet::Queue;
use kiln_core::job::Hint;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// What the SDK's client and the queues are until the next renewal.
pub struct Lent {
    client: aws_sdk_sqs::Client,
    pub queues: Vec<Queue>,
    got: Instant,
    lasts: Duration,
}

impl Lent {
    /// Renewed at four fifths of their time, so that a call begun before ends before they do.
    pub fn renew_at(&self) -> Instant {
        self.got + self.lasts.mul_f64(0.8)
    }
}

pub struct Queues {
    http: SharedHttpClient,
    poll: Duration,
    lent: RwLock<Option<Arc<Lent>>>,
}

/// A message as it came, not yet read.
pub struct Received {
    pub queue: Queue,
    pub body: String,
    receipt: String,
}

impl Received {
    /// The hint in it, or `None` for something else.
    pub fn hint(&self) -> Option<Hint> {
        serde_json::from_str(&self.body).ok().filter(|hint: &Hint| hint.version == 1)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The credentials are not (or no longer) good.
    #[error("SQS refused the credentials ({0})")]
    Unauthorised(String),
    #[error("SQS: {0}")]
    Other(String),
}

impl Queues {
    pub fn new(poll: Duration) -> Self {
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        Self { http, poll, lent: RwLock::new(None) }
    }

    /// The queues of the present credentials, by preference.
    pub fn now(&self) -> Arc<Lent> {
        self.lent.read().expect("the credentials' lock").clone().expect("credentials are fetched before the first poll")
    }

    /// Fetches credentials anew; calls under way finish with the old ones.
    pub async fn renew(&self, api: &Api) -> Result<(), CallError> {
        let got = Instant::now();
        let answer = api.credentials().await?;
        let credentials = Credentials::new(&answer.access_key_id, &answer.secret_access_key, Some(answer.session_token.clone()), None, "fleet");
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .credentials_provider(credentials)
            .region(Region::new(answer.region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_attempt_timeout(self.poll + Duration::from_secs(10)).build(),
            );
        if let Some(endpoint) = &answer.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let lasts = Duration::from_secs(answer.expires_in_s);
        let lent = Lent { client: aws_sdk_sqs::Client::from_conf(config.build()), queues: answer.queues, got, lasts };
        *self.lent.write().expect("the credentials' lock") = Some(Arc::new(lent));
        Ok(())
    }

    /// One long poll of one message.
    pub async fn receive(&self, queue: &Queue) -> Result<Option<Received>, QueueError> {
        let lent = self.now();
        let call = lent.client.receive_message().queue_url(&queue.url).max_number_of_messages(1).wait_time_seconds(self.poll.as_secs() as i32);
        let answer = call.send().await.map_err(error)?;
        let message = answer.messages.unwrap_or_default().into_iter().next();
        Ok(message.map(|message| Received {
            queue: queue.clone(),
            body: message.body.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
        }))
    }

    /// A message that can't be deleted comes back, and its claim is refused then: nothing is lost.
    pub async fn delete(&self, message: &Received) {
        let lent = self.now();
        if let Err(failed) = lent.client.delete_message().queue_url(&message.queue.url).receipt_handle(&message.receipt).send().await {
            tracing::warn!(error = %error(failed), "a message could not be deleted; it comes back and is refused then");
        }
    }

    /// Makes a message visible to the others at once. If that fails it becomes visible by itself, later.
    pub async fn give_back(&self, message: &Received) {
        let lent = self.now();
        let call = lent.client.change_message_visibility().queue_url(&message.queue.url).receipt_handle(&message.receipt).visibility_timeout(0);
        if let Err(failed) = call.send().await {
            tracing::warn!(error = %error(failed), "a message could not be given back; it waits for its visibility timeout");
        }
    }
}

/// Codes by which SQS says that credentials are not good (any more).
const UNAUTHORISED: [&str; 9] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

fn error<E>(error: SdkError<E>) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.as_service_error().and_then(|inner| inner.code()).unwrap_or_default();
    let known = UNAUTHORISED.iter().any(|name| code == *name || code.ends_with(&format!(".{name}")));
    if known {
        return QueueError::Unauthorised(code.to_owned());
    }
    QueueError::Other(DisplayErrorContext(&error).to_string())
}
