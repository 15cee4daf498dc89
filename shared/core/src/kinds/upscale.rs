//! `upscale`: a photo enlarged by a super-resolution network.

use crate::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpscaleParams {
    /// How many times wider and higher: 2, 3 or 4.
    #[schemars(range(min = 2, max = 4))]
    pub scale: u8,
    /// Stretch the picture's brightness to its full range first.
    #[serde(default)]
    pub auto_exposure: bool,
    /// Take out a colour cast first.
    #[serde(default)]
    pub auto_white_balance: bool,
    /// How much to sharpen afterwards, from 0 (not at all) to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sharpen: f32,
}

impl UpscaleParams {
    pub fn validate(&self) -> Result<(), FieldError> {
        if !(2..=4).contains(&self.scale) {
            return Err(FieldError::new("scale", "must be 2, 3 or 4"));
        }
        if !(0.0..=1.0).contains(&self.sharpen) {
            return Err(FieldError::new("sharpen", "must be from 0 to 1"));
        }
        Ok(())
    }
}
