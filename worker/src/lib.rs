//! The worker: see `agent` (network), `engine` (compute), `cuda`, `models`.
pub mod agent;
pub mod cuda;
pub mod engine;
pub mod image_io;
pub mod models;
