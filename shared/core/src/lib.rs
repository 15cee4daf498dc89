//! The domain, pure: no I/O, no async, no clock. Time (milliseconds since 1970) and randomness are arguments.
//!
//! - [`machine`]: the job's life as transitions; [`job`] the data they work on
//! - [`ledger`]: the arithmetic of credits; [`batch`]: what many jobs reserve at once; [`prices`]: the price list; [`price`]: what a job costs and why
//! - [`billing`]: what is paid for with money, and what goes back
//! - [`fleet`]: what a worker and the server say to each other; [`pool`]: how many workers there should be
//! - [`kinds`]: the kinds of job and their parameters; [`media`]: what an uploaded file is, from its bytes
//! - [`access`]: roles and scopes, and the limits of organisations and keys; [`profile`], [`address`]: what a person may be called, and where reached
//! - [`hooks`]: the events that are told to endpoints outside, and how
//! - [`objects`]: JSON read strictly; [`ids`], [`time`], [`settings`], [`field`]: the small words all of these use

pub mod access;
pub mod address;
pub mod batch;
pub mod billing;
pub mod field;
pub mod fleet;
pub mod hooks;
pub mod ids;
pub mod job;
pub mod kinds;
pub mod ledger;
pub mod machine;
pub mod media;
pub mod models;
pub mod objects;
pub mod pool;
pub mod price;
pub mod prices;
pub mod profile;
pub mod settings;
pub mod time;
pub mod timing;

pub use field::FieldError;
