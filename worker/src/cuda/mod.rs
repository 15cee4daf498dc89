//! Our own CUDA kernels and their safe wrappers (feature `cuda`), and the same work in plain Rust, which judges them.

pub mod convert;
#[cfg(feature = "cuda")]
pub mod device;
