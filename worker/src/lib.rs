//! The worker: see `agent` (network), `engine` (compute), `cuda`, `models`.
pub mod engine;
