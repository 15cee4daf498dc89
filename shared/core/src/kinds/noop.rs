//! `noop`: takes its time and makes a picture of one pixel, for tests and benches.

use crate::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoopFailure {
    Panic,
    Retryable,
    Permanent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoopParams {
    /// How long to work, in milliseconds.
    #[serde(default)]
    #[schemars(range(max = 600_000))]
    pub ms: u64,
    /// How to fail at the end, if at all.
    #[serde(default)]
    pub fail: Option<NoopFailure>,
    /// How many artifacts to make.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub outputs: u8,
}

/// `result.png`, `result-2.png` and so on.
pub(super) fn makes(name: &str) -> bool {
    let number = name.strip_prefix("result-").and_then(|rest| rest.strip_suffix(".png")).and_then(|number| number.parse::<u8>().ok());
    name == "result.png" || number.is_some_and(|number| (2..=64).contains(&number) && name == format!("result-{number}.png"))
}

fn one() -> u8 {
    1
}

impl NoopParams {
    pub fn validate(&self) -> Result<(), FieldError> {
        if self.ms > 600_000 {
            return Err(FieldError::new("ms", "must be at most 600000"));
        }
        if !(1..=64).contains(&self.outputs) {
            return Err(FieldError::new("outputs", "must be from 1 to 64"));
        }
        Ok(())
    }
}
