//! The compact network on a GPU: our kernels turn the photo's bytes into the tile and the result into bytes, candle runs the
//! layers between, and only bytes cross the bus.

use super::candle::{CandleNetwork, device_failed};
use super::cpu::Region;
use super::{Network, Planes};
use crate::cuda::device::Converter;
use crate::engine::EngineError;
use crate::image_io::Picture;
use crate::models::CompactNet;
use candle_core::{CudaDevice, Device, Result, backend::BackendDevice};

/// The network on the first GPU.
pub struct CudaNetwork {
    network: CandleNetwork,
    converter: Converter,
}

impl CudaNetwork {
    pub fn new(net: &CompactNet) -> Result<CudaNetwork> {
        let device = CudaDevice::new(0)?;
        let network = CandleNetwork::new(net, Device::Cuda(device.clone()))?;
        Ok(CudaNetwork { network, converter: Converter::new(device) })
    }

    fn enlarge(&self, photo: &Picture, keep: Region, band: &mut [u8]) -> Result<()> {
        let whole = Region { x: 0, y: 0, w: photo.width, h: photo.height };
        let seen = keep.grown(self.reach(), whole);
        let tile = self.converter.tile_in(&photo.rgb, photo.width, photo.height, seen)?;
        let result = self.network.forward(&tile, Region { x: keep.x - seen.x, y: keep.y - seen.y, ..keep })?;
        let bytes = self.converter.tile_out(&result)?;
        let (line, width) = (keep.w * self.scale() * 3, photo.width * self.scale() * 3);
        for (row, from) in bytes.chunks_exact(line).enumerate() {
            band[row * width + keep.x * self.scale() * 3..][..line].copy_from_slice(from);
        }
        Ok(())
    }
}

impl Network for CudaNetwork {
    fn scale(&self) -> usize {
        self.network.scale()
    }

    fn reach(&self) -> usize {
        self.network.reach()
    }

    fn free_bytes(&self) -> std::result::Result<Option<u64>, EngineError> {
        self.converter.free_bytes().map(Some).map_err(device_failed)
    }

    fn run(&self, input: &Planes, keep: Region) -> std::result::Result<Planes, EngineError> {
        self.network.run(input, keep)
    }

    fn tile(&self, photo: &Picture, keep: Region, band: &mut [u8]) -> std::result::Result<(), EngineError> {
        self.enlarge(photo, keep, band).map_err(device_failed)
    }
}
