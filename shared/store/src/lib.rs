//! DynamoDB, SQS, S3, SES, SSM and STS through the AWS SDK: every key, condition and transaction of the system, and
//! nothing else knows them. Local and cloud differ by the SDK's own settings only.

mod accounts;
mod error;
mod files;
mod fleet;
mod jobs;
pub mod keys;
mod lend;
mod mail;
mod owed;
mod queues;
mod secrets;
mod shares;
pub mod table;
#[cfg(test)]
mod testing;
mod uploads;

pub use accounts::{Account, Link, Session, SignIn};
pub use error::Error;
pub use files::{Files, Presigned, Stored, artifact_key, incoming_key, input_key};
pub use fleet::{Fleet, Instance, PoolState, Said, Slot};
pub use jobs::{Commit, Creation, Idempotent, Replay, Submitted, Why};
pub use lend::{Lender, Lent};
pub use mail::Mail;
pub use owed::{Depth, OwedRow};
pub use queues::{Queue, QueueDepth, Queues};
pub use secrets::Secrets;
pub use shares::Share;
pub use table::Table;
pub use uploads::{Upload, UploadState};

/// The SDK's configuration from its own environment, with the one TLS provider that we ship.
pub async fn sdk_config() -> aws_config::SdkConfig {
    use aws_smithy_http_client::{Builder, tls};
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http).load().await
}

/// SHA-256 of a secret, as it is stored: lower-case hex.
pub fn hash(secret: &str) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(secret.as_bytes()))
}
