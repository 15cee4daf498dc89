//! The worker: see `agent` (network), `engine` (compute), `cuda`, `models`, and `supervisor` (its parent process on a rented machine).
pub mod agent;
pub mod cuda;
pub mod engine;
pub mod image_io;
pub mod models;
pub mod supervisor;
