//! The compact network in candle: the judge of our CPU kernels, and with the feature `cuda` what runs on the GPU.
//!
//! It runs all layers on the whole tile with its margin; the margin is as wide as the network sees, so what the zeros around
//! it spoil never reaches the part that is kept.

use super::cpu::Region;
use super::cpu::reduction_matrix;
use super::{Network, Planes};
use crate::engine::EngineError;
use crate::models::CompactNet;
use candle_core::{Device, Result, Tensor};

struct Layer {
    weight: Tensor,
    bias: Tensor,
    slope: Option<Tensor>,
}

/// The network on one of candle's devices.
pub struct CandleNetwork {
    pub(super) device: Device,
    layers: Vec<Layer>,
    shuffle: usize,
    scale: usize,
    reach: usize,
}

impl CandleNetwork {
    pub fn new(net: &CompactNet, device: Device) -> Result<CandleNetwork> {
        let per_channel = |values: &[f32]| Tensor::from_slice(values, (1, values.len(), 1, 1), &device);
        let layers = net.convs.iter().map(|conv| {
            Ok(Layer {
                weight: Tensor::from_slice(&conv.weight, (conv.outputs, conv.inputs, 3, 3), &device)?,
                bias: per_channel(&conv.bias)?,
                slope: conv.slope.as_deref().map(per_channel).transpose()?,
            })
        });
        let layers = layers.collect::<Result<_>>()?;
        Ok(CandleNetwork { layers, shuffle: net.shuffle, scale: net.scale, reach: net.reach(), device })
    }

    /// [1, 3, h, w] of a tile with its margin to [3, scale × keep.h, scale × keep.w].
    pub(super) fn forward(&self, tile: &Tensor, keep: Region) -> Result<Tensor> {
        let (_, _, height, width) = tile.dims4()?;
        let r = self.shuffle;
        let mut x = tile.clone();
        for layer in &self.layers {
            x = x.conv2d(&layer.weight, 1, 1, 1, 1)?.broadcast_add(&layer.bias)?;
            if let Some(slope) = &layer.slope {
                let positive = x.relu()?;
                x = ((x - &positive)?.broadcast_mul(slope)? + positive)?;
            }
        }
        let shuffled = x.reshape((3, r, r, height, width))?.permute((0, 3, 1, 4, 2))?.reshape((1, 3, height * r, width * r))?;
        let enlarged = (shuffled + tile.upsample_nearest2d(height * r, width * r)?)?.squeeze(0)?;
        if self.scale == r {
            return enlarged.narrow(1, keep.y * r, keep.h * r)?.narrow(2, keep.x * r, keep.w * r)?.contiguous();
        }
        // The bicubic reduction is linear along each side, so it is one small matrix from the left and one from the right.
        let matrix = |first, count, length| {
            let values = reduction_matrix(first * self.scale, count * self.scale, length * r, r, self.scale);
            Tensor::from_vec(values, (count * self.scale, length * r), &self.device)
        };
        let down = matrix(keep.y, keep.h, height)?;
        let across = matrix(keep.x, keep.w, width)?.t()?.contiguous()?;
        let narrow = enlarged.reshape((3 * height * r, width * r))?.matmul(&across)?.reshape((3, height * r, keep.w * self.scale))?;
        let rows: Vec<Tensor> = (0..3).map(|c| down.matmul(&narrow.get(c)?)).collect::<Result<_>>()?;
        Tensor::stack(&rows, 0)
    }
}

impl Network for CandleNetwork {
    fn scale(&self) -> usize {
        self.scale
    }

    fn reach(&self) -> usize {
        self.reach
    }

    fn run(&self, input: &Planes, keep: Region) -> std::result::Result<Planes, EngineError> {
        let run = || {
            let tile = Tensor::from_slice(&input.data, (1, 3, input.height, input.width), &self.device)?;
            self.forward(&tile, keep)?.flatten_all()?.to_vec1()
        };
        let data = run().map_err(device_failed)?;
        Ok(Planes { width: keep.w * self.scale, height: keep.h * self.scale, data })
    }
}

/// Whatever a device says (no memory, a lost GPU), another machine may do better.
pub(super) fn device_failed(error: candle_core::Error) -> EngineError {
    EngineError::Retryable { code: "device_failed", message: error.to_string() }
}
