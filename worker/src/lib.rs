//! The worker: see `agent` (network), `engine` (compute), `cuda`, `models`.
pub mod agent;
pub mod engine;
