//! A whole Kiln for tests: `kiln-local`'s real binary with a data folder of its own, the worker's real sign-in, and HTTP
//! clients. [`receiver`] takes webhooks. [`runtime_api`] runs a function's own binary as Lambda does. [`faults`] stands between the system and its AWS stand-in and counts, drops, repeats or kills.

pub mod client;
pub mod faults;
pub mod machine;
pub mod picture;
pub mod receiver;
pub mod runtime_api;
pub mod shop;
pub mod system;

pub use client::Client;
pub use faults::{Call, Faults, Verdict};
pub use machine::Machine;
pub use receiver::{Hook, Receiver};
pub use runtime_api::{Bootstrap, Ended};
pub use shop::Shop;
pub use system::{System, wait_for};
