//! A model of DynamoDB in memory, for tests. The real SDK client speaks to it in process, so that the store's code runs on it unchanged:
//!
//! ```ignore
//! let memory = Memory::new(seed);
//! let table = kiln_store::Table::new(&memory.sdk_config(), kiln_dynamo::TABLE);
//! ```
//!
//! Promises: no network and no clock; the same seed and the same order of calls give the same answers; what DynamoDB documents of
//! expressions, conditions, transactions, conflicts, limits and errors holds here, and what the model does not know it refuses. The test
//! `likeness` holds it against the stand-in that the system tests use.
//!
//! Time is counted in turns: a call gives the scheduler a few turns before it is applied, while it is in flight and before its answer
//! ([`Memory::yields`]), and a sleep of the SDK or of the store is one turn a millisecond. So whatever runs beside it runs between.
//!
//! Other than DynamoDB: reads of the index are never late; a request that was cut off and has no fate of its own draws it from the seed;
//! a token of a transaction is remembered for 10,000 transactions, not for 10 minutes; capacity is never counted; TTL never sweeps.
//! A transaction that meets a plain write in flight is cancelled too, which DynamoDB does not document and may do.

mod call;
mod crash;
mod data;
mod engine;
mod expr;
mod faults;
mod memory;
mod number;
mod plan;
mod schema;
mod turns;
mod value;
mod wire;

pub use crash::{Crashed, at_every_await, dies_at};
pub use faults::{Chances, Fate, Fault};
pub use memory::{Memory, Planted};
pub use schema::{INDEX, INDEX_ATTRIBUTES, INDEX_KEY, KEY, TABLE};
