//! The stand-in, served in this process and spoken to over HTTP.

mod bad_input;
mod common;
mod deliveries;
mod faults;
mod kept;
mod pages;
mod subscriptions;
mod typed;
