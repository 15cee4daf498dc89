//! What turns a job's spec into artifacts.
//!
//! An engine is synchronous and owns the machine's compute while it runs: the agent calls it on a
//! blocking thread, catches its panic, and alone speaks to the network. An engine never sees a URL,
//! a token or a job id; it gets verified bytes and gives bytes back.

pub mod noop;
pub mod upscale;

/// One input file, exactly the bytes that the server verified.
#[derive(Debug, Clone)]
pub struct Input {
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// One file that the engine made. `name` is unique within the job (at most 128 bytes).
#[derive(Debug, Clone)]
pub struct Output {
    pub name: String,
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

/// Why an engine gave up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// `Context::cancelled` was true and the engine stopped.
    #[error("cancelled")]
    Cancelled,
    /// Another try elsewhere may succeed (out of memory, a sick device).
    #[error("{code}: {message}")]
    Retryable { code: &'static str, message: String },
    /// No machine will ever do this job (the input can't be decoded, the parameters make no sense).
    #[error("{code}: {message}")]
    Permanent { code: &'static str, message: String },
}

/// The engine's way to speak while it works. Cheap to call often: the agent keeps the newest value only.
pub trait Context: Send + Sync {
    /// `fraction` is 0..=1, `stage` a short word of the engine's own (`decode`, `network`, `encode`).
    fn progress(&self, fraction: f32, stage: &str);
    /// True once the job was cancelled or the attempt lost; an engine looks at it between tiles or steps.
    fn cancelled(&self) -> bool;
}

/// Something that makes media. One instance serves the whole process and runs one job at a time per slot.
pub trait Engine: Send + Sync {
    /// The job kinds that it runs, as `kiln_core::kinds` names them.
    fn kinds(&self) -> &'static [&'static str];
    /// Makes something of a known input, quickly, and tells what is wrong with it. Nothing is run before that has succeeded.
    fn self_test(&self) -> Result<(), String>;
    /// Runs one job to its end. `params` has passed core's validation for `kind`.
    fn run(&self, kind: &str, params: &serde_json::Value, inputs: &[Input], context: &dyn Context) -> Result<Vec<Output>, EngineError>;
}
