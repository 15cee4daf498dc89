//! What can go wrong below the functions: for the log, never for a customer's eyes.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An AWS call failed after the SDK's own retries; its operation's words.
    #[error("{0}")]
    Aws(String),
    /// One item is so contended that our turns ran out. Asking again later helps.
    #[error("too many transactions on one item")]
    Busy,
    /// Stored or configured data that this code can't read.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub fn aws<E, R>(error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let text = match &error {
            SdkError::ServiceError(service) => {
                let meta = service.err();
                format!("{}: {}", meta.code().unwrap_or("service error"), meta.message().unwrap_or("no message"))
            }
            other => aws_smithy_types::error::display::DisplayErrorContext(other).to_string(),
        };
        Self::Aws(text)
    }

    /// As [`Error::aws`], by the error's code alone: these services quote addresses, or answer with secrets.
    pub fn aws_code<E, R>(what: &str, error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let code = match &error {
            SdkError::ServiceError(service) => service.err().code().unwrap_or("service error"),
            SdkError::TimeoutError(_) => "timed out",
            SdkError::DispatchFailure(failure) if failure.is_timeout() => "timed out",
            SdkError::DispatchFailure(failure) if failure.is_io() => "no connection",
            SdkError::DispatchFailure(_) => "not sent",
            SdkError::ResponseError(_) => "unreadable answer",
            _ => "not sent",
        };
        Self::Aws(format!("{what}: {code}"))
    }

    pub fn internal(text: impl ToString) -> Self {
        Self::Internal(text.to_string())
    }
}
