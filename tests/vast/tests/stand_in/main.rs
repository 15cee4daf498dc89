//! The stand-in, served in this process and spoken to over HTTP. Its clock stands still unless a test says otherwise.

mod bad_input;
mod billing;
mod common;
mod faults;
mod keys;
mod life;
mod lists;
mod pace;
mod processes;
mod rivals;
mod search;
