//! DynamoDB, SQS, S3, SES, SSM, STS and Lambda through the AWS SDK: every key, condition and transaction of the system, and
//! nothing else knows them. Local and cloud differ by the SDK's own settings only.

mod accounts;
mod api_keys;
mod audit;
mod batches;
mod callers;
mod charges;
mod deletion;
mod error;
mod faults;
mod files;
mod fleet;
pub mod hooks;
mod invites;
mod jobs;
pub mod keys;
mod ledger;
mod lend;
mod machines;
mod mail;
mod operators;
mod orgs;
mod owed;
mod own;
mod payments;
mod profile;
mod queues;
mod rent;
mod rest;
mod room;
mod secrets;
mod shares;
mod suppressions;
mod sweep;
pub mod table;
#[cfg(test)]
mod testing;
mod uploads;
mod usage;
mod wake;

pub use accounts::{Account, AccountKind, KeptLimits, Link, Session, SignIn, Tally, address_hash};
pub use api_keys::{ApiKey, NoKey};
pub use audit::{Audit, AuditFilter, DONE};
pub use batches::{Closed, Started};
pub use callers::{Asked, Proof};
pub use charges::Charged;
pub use deletion::{Leaving, Leftover, NoEnd, Places};
pub use error::Error;
pub use faults::Faults;
pub use files::{Files, Presigned, Stored, artifact_key, incoming_key, input_key, model_key};
pub use fleet::{Beside, Fleet, Instance, Lease, PoolState, Prewarm, RunState, Said, Slot, Told};
pub use invites::Invite;
pub use jobs::{Commit, Creation, Idempotent, Replay, Submitted, Why};
pub use ledger::{Posted, Posting};
pub use lend::{Lender, Lent};
pub use machines::{Gone, NoClaim};
pub use mail::Mail;
pub use operators::AccountPatch;
pub use orgs::{Member, NoChange};
pub use owed::{Depth, OwedRow};
pub use own::OWN;
pub use payments::{Applied, Claimed, Subscription};
pub use profile::{Confirmation, NoMove, ProfileChange};
pub use queues::{DeliveryHint, Queue, QueueDepth, Queues};
pub use rent::NoCover;
pub use room::{ByHand, HandStep, NoRoom, Room};
pub use secrets::Secrets;
pub use shares::Share;
pub use suppressions::{Kept, Reason, Suppression};
pub use table::Table;
pub use uploads::{Upload, UploadState};
pub use usage::{Usage, UsageFilter};
pub use wake::Waker;

/// The SDK's configuration from its own variables (`AWS_REGION`, `AWS_ENDPOINT_URL`, the credentials that Lambda and kiln-local set), with
/// the one TLS provider that we ship. The SDK's whole chain of profiles, containers and machines would be a megabyte of every function.
pub fn sdk_config() -> aws_config::SdkConfig {
    use aws_config::environment::EnvironmentVariableCredentialsProvider as Environment;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_smithy_http_client::{Builder, tls};
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).map(aws_config::Region::new))
        .credentials_provider(SharedCredentialsProvider::new(Environment::new()))
        .http_client(http);
    config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
    config.build()
}

/// SHA-256 of a secret, as it is stored: lower-case hex.
pub fn hash(secret: &str) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(secret.as_bytes()))
}
