//! `upscale`: a photo enlarged 2, 3 or 4 times by Real-ESRGAN's compact network (docs/ENGINES.md).
//!
//! The picture is cut into tiles that overlap by what the network sees, so that the result is the same whatever the tile, and
//! goes to the PNG row by row: memory is bounded by the decoded photo and one row of tiles, not by the result.

pub mod adjust;
#[cfg(feature = "candle")]
pub mod candle;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod self_test;
mod tiles;

use super::{Context, Engine, EngineError, Input, Output};
use crate::cuda::convert;
use crate::image_io::{self, Picture, PngRows};
use crate::models::{self, ModelError};
use cpu::{CpuNetwork, Region};
use kiln_core::kinds::upscale::UpscaleParams;
use std::path::PathBuf;

/// Three planes of floats (R, G, B), 0..=1 for what can be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    pub width: usize,
    pub height: usize,
    /// [3][height][width]
    pub data: Vec<f32>,
}

impl Planes {
    pub fn new(width: usize, height: usize) -> Planes {
        Planes { width, height, data: vec![0.0; 3 * width * height] }
    }

    pub fn plane(&self, channel: usize) -> &[f32] {
        &self.data[channel * self.width * self.height..][..self.width * self.height]
    }
}

/// A network that enlarges; the CPU's kernels and candle are its two implementations.
pub trait Network: Send + Sync {
    /// How many times larger the output is.
    fn scale(&self) -> usize;
    /// How far an output pixel sees, in input pixels.
    fn reach(&self) -> usize;
    /// Bytes that are free on its device, where that has a memory of its own; others may hold the rest.
    fn free_bytes(&self) -> Result<Option<u64>, EngineError> {
        Ok(None)
    }
    /// Enlarges `keep`, a part of `input`. Around it `input` must hold `reach` more pixels, or end where the picture ends.
    fn run(&self, input: &Planes, keep: Region) -> Result<Planes, EngineError>;

    /// Enlarges `keep` of the photo into `band`, the rows of the result that start with `keep`'s own. A device that converts
    /// between bytes and floats itself does so here.
    fn tile(&self, photo: &Picture, keep: Region, band: &mut [u8]) -> Result<(), EngineError> {
        let whole = Region { x: 0, y: 0, w: photo.width, h: photo.height };
        let seen = keep.grown(self.reach(), whole);
        let tile = convert::tile_in(&photo.rgb, photo.width, photo.height, seen);
        let result = self.run(&tile, Region { x: keep.x - seen.x, y: keep.y - seen.y, ..keep })?;
        convert::tile_out(&result, band, photo.width * self.scale(), keep.x * self.scale(), 0);
        Ok(())
    }
}

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct UpscaleSettings {
    /// Where `scripts/fetch-models` put the weights (`KILN_MODELS_DIR`).
    pub models_dir: PathBuf,
    /// Longest side of a tile, in input pixels (`KILN_UPSCALE_TILE`). A larger tile recomputes less of its overlap (15 % at 256)
    /// and takes more memory (about 50 MB at 256 on the CPU, growing with its square).
    pub tile: usize,
    /// A GPU that takes longer for 256 × 256 input pixels fails the self-test, in milliseconds (`KILN_UPSCALE_MOST_MS`). Two old CPU cores take a
    /// tenth of what is set unless told: what is slower than that is a GPU that is throttled, shared or broken.
    pub most_ms: u64,
    /// A build for GPUs that finds none gives up, and does not compute on the CPU: what is rented for its GPU is paid for it.
    pub need_gpu: bool,
}

impl Default for UpscaleSettings {
    fn default() -> Self {
        UpscaleSettings { models_dir: models::DEFAULT_DIR.into(), tile: 256, most_ms: 2_000, need_gpu: false }
    }
}

impl UpscaleSettings {
    /// From the environment; what is unset keeps its default.
    pub fn from_env() -> Result<UpscaleSettings, String> {
        let mut settings = UpscaleSettings::default();
        if let Some(dir) = std::env::var_os("KILN_MODELS_DIR").filter(|dir| !dir.is_empty()) {
            settings.models_dir = dir.into();
        }
        if let Ok(tile) = std::env::var("KILN_UPSCALE_TILE") {
            let tile = tile.parse().ok().filter(|tile| (16..=4096).contains(tile));
            settings.tile = tile.ok_or("KILN_UPSCALE_TILE must be a whole number from 16 to 4096")?;
        }
        if let Ok(most) = std::env::var("KILN_UPSCALE_MOST_MS") {
            let most = most.parse().ok().filter(|most| (1..=60_000).contains(most));
            settings.most_ms = most.ok_or("KILN_UPSCALE_MOST_MS must be a whole number from 1 to 60000")?;
        }
        Ok(settings)
    }
}

/// The engine, with its three networks loaded.
pub struct Upscale {
    networks: Vec<Box<dyn Network>>,
    tile: usize,
    most_ms: u64,
}

impl Upscale {
    /// Loads the networks onto the best device that this build and this machine have.
    pub fn new(settings: &UpscaleSettings) -> Result<Upscale, ModelError> {
        let mut networks = Vec::new();
        for scale in 2..=4 {
            networks.push(network_for(&models::load_upscaler(&settings.models_dir, scale)?, settings.need_gpu)?);
        }
        Ok(Upscale::with_networks(networks, settings))
    }

    /// With networks of the caller's, one per factor.
    pub fn with_networks(networks: Vec<Box<dyn Network>>, settings: &UpscaleSettings) -> Upscale {
        Upscale { networks, tile: settings.tile, most_ms: settings.most_ms }
    }
}

#[cfg(not(feature = "cuda"))]
fn network_for(net: &models::CompactNet, _need_gpu: bool) -> Result<Box<dyn Network>, ModelError> {
    Ok(Box::new(CpuNetwork::new(net)))
}

#[cfg(feature = "cuda")]
fn network_for(net: &models::CompactNet, need_gpu: bool) -> Result<Box<dyn Network>, ModelError> {
    match cuda::CudaNetwork::new(net) {
        Ok(network) => Ok(Box::new(network)),
        Err(error) if need_gpu => Err(ModelError::NoGpu(error.to_string())),
        // No driver or no GPU: the same source serves on the CPU, and says so.
        Err(error) => {
            tracing::warn!(%error, "no GPU for the upscaler; it runs on the CPU");
            Ok(Box::new(CpuNetwork::new(net)))
        }
    }
}

impl Engine for Upscale {
    fn kinds(&self) -> &'static [&'static str] {
        &["upscale"]
    }

    fn self_test(&self) -> Result<(), String> {
        self.networks.iter().try_for_each(|network| self_test::check(network.as_ref()))?;
        self.networks.iter().try_for_each(|network| self_test::whole_tile(network.as_ref(), self.tile, self.most_ms))
    }

    fn run(&self, _kind: &str, params: &serde_json::Value, inputs: &[Input], context: &dyn Context) -> Result<Vec<Output>, EngineError> {
        let permanent = |code, message: String| EngineError::Permanent { code, message };
        let params: UpscaleParams = serde_json::from_value(params.clone()).map_err(|e| permanent("invalid_params", e.to_string()))?;
        params.validate().map_err(|e| permanent("invalid_params", e.to_string()))?;
        let [input] = inputs else {
            return Err(permanent("invalid_inputs", format!("one picture is wanted, {} were given", inputs.len())));
        };
        let scale = usize::from(params.scale);
        let network = self.networks.iter().find(|n| n.scale() == scale);
        let network = network.ok_or_else(|| permanent("invalid_params", format!("no network enlarges {scale} times")))?;

        context.progress(0.0, "decode");
        let mut picture = image_io::decode(&input.bytes).map_err(|e| permanent(e.code(), e.to_string()))?;
        if params.auto_white_balance {
            adjust::white_balance(&mut picture.rgb);
        }
        if params.auto_exposure {
            adjust::exposure(&mut picture.rgb);
        }
        let bytes = enlarge(network.as_ref(), &picture, self.tile, params.sharpen, context)?;
        context.progress(1.0, "encode");
        Ok(vec![Output { name: "result.png".into(), content_type: "image/png", bytes }])
    }
}

/// The whole picture through the network, tile by tile, into a PNG.
fn enlarge(network: &dyn Network, picture: &Picture, tile: usize, sharpen: f32, context: &dyn Context) -> Result<Vec<u8>, EngineError> {
    let scale = network.scale();
    let (columns, rows) = (tiles::cut(picture.width, tile), tiles::cut(picture.height, tile));
    let line = picture.width * scale * 3;
    let total = (columns.len() * rows.len()) as f32;
    let mut done = 0.0;

    let mut out = PngRows::new(picture, scale).map_err(encoding)?;
    let mut sharpener = adjust::Sharpener::new(sharpen, line);
    for row in &rows {
        let mut band = vec![0; line * row.len() * scale];
        for column in &columns {
            if context.cancelled() {
                return Err(EngineError::Cancelled);
            }
            let keep = Region { x: column.start, y: row.start, w: column.len(), h: row.len() };
            network.tile(picture, keep, &mut band)?;
            done += 1.0;
            context.progress(0.02 + 0.96 * done / total, "network");
        }
        for line in band.chunks_exact(line) {
            sharpener.push(line, |line| out.push(line)).map_err(encoding)?;
        }
    }
    sharpener.finish(|line| out.push(line)).map_err(encoding)?;
    out.finish().map_err(encoding)
}

fn encoding(error: std::io::Error) -> EngineError {
    EngineError::Retryable { code: "encode_failed", message: error.to_string() }
}
