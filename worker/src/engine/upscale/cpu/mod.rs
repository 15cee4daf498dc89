//! The compact network on the CPU, by kernels of our own on all cores.
//!
//! It computes exactly what the tile needs: each layer works on the tile and the margin that the layers after it still see,
//! clipped to the picture. So tiles meet without a seam, whatever their size.

mod enlarge;
mod simd;
mod winograd;

#[cfg(feature = "candle")]
pub(super) use enlarge::reduction_matrix;
pub use simd::Level;
pub use winograd::Region;

use super::{Network, Planes};
use crate::engine::EngineError;
use crate::models::CompactNet;
use std::sync::Mutex;
use winograd::{Buffer, Layer, padded};

/// The network, ready to run. One tile at a time uses all cores; a second caller waits.
pub struct CpuNetwork {
    layers: Vec<Layer>,
    level: Level,
    shuffle: usize,
    scale: usize,
    reach: usize,
    /// What the layers read and write in turns; kept, since making 40 MB anew for each tile costs page faults.
    buffers: Mutex<[Buffer; 2]>,
}

impl CpuNetwork {
    pub fn new(net: &CompactNet) -> CpuNetwork {
        CpuNetwork::with_level(net, Level::best())
    }

    /// For tests: by a slower instruction set than the best. `level` must be one of [`Level::all`].
    pub fn with_level(net: &CompactNet, level: Level) -> CpuNetwork {
        assert!(Level::all().contains(&level), "this machine has no {level:?}");
        CpuNetwork {
            layers: net.convs.iter().map(Layer::new).collect(),
            level,
            shuffle: net.shuffle,
            scale: net.scale,
            reach: net.reach(),
            buffers: Mutex::default(),
        }
    }
}

impl Network for CpuNetwork {
    fn scale(&self) -> usize {
        self.scale
    }

    fn reach(&self) -> usize {
        self.reach
    }

    fn run(&self, input: &Planes, keep: Region) -> Result<Planes, EngineError> {
        let whole = Region { x: 0, y: 0, w: input.width, h: input.height };
        // A panic of an earlier run leaves only scratch values behind, which every run writes before it reads.
        let mut buffers = self.buffers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let [a, b] = &mut *buffers;

        let mut margin = self.reach;
        let mut region = keep.grown(margin, whole);
        let stride = padded(3);
        a.ensure(region.w * region.h * stride);
        interleave(input, region, &mut a.floats_mut()[..region.w * region.h * stride], stride);
        for layer in &self.layers {
            margin -= 1;
            let to = keep.grown(margin, whole);
            b.ensure(to.w * to.h * layer.output_stride());
            layer.run(self.level, a.floats(), region, b.floats_mut(), to);
            region = to;
            std::mem::swap(a, b);
        }
        let last = self.layers.last().map_or(0, Layer::output_stride);
        Ok(enlarge::enlarge(input, a.floats(), last, region, keep, self.shuffle, self.scale))
    }
}

/// Planes to pixels of `stride` floats, the rest of each zero.
fn interleave(input: &Planes, region: Region, to: &mut [f32], stride: usize) {
    to.fill(0.0);
    for channel in 0..3 {
        let plane = input.plane(channel);
        for (row, to) in to.chunks_exact_mut(region.w * stride).enumerate() {
            let from = &plane[(region.y + row) * input.width + region.x..][..region.w];
            for (to, from) in to.chunks_exact_mut(stride).zip(from) {
                to[channel] = *from;
            }
        }
    }
}
