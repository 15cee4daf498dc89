//! The domain, pure: no I/O, no async, no clock. Time (milliseconds since 1970) and randomness are arguments.
//!
//! - [`machine`]: the job's life as transitions; [`job`] the data they work on
//! - [`ledger`]: the arithmetic of credits; [`price`]: what a job costs and why
//! - [`fleet`]: what a worker and the server say to each other; [`pool`]: how many workers there should be
//! - [`kinds`]: the kinds of job and their parameters; [`media`]: what an uploaded file is, from its bytes
//! - [`hooks`]: the events that are told to endpoints outside, and how
//! - [`ids`], [`time`], [`settings`], [`field`]: the small words all of these use

pub mod field;
pub mod fleet;
pub mod hooks;
pub mod ids;
pub mod job;
pub mod kinds;
pub mod ledger;
pub mod machine;
pub mod media;
pub mod pool;
pub mod price;
pub mod settings;
pub mod time;
pub mod timing;

pub use field::FieldError;
