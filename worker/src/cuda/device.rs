//! Safe wrappers of `kernels/convert.cu` on candle's device and stream.
//!
//! The PTX is made by scripts/compile-kernels without a GPU and committed; the driver compiles it for the GPU at hand.

use crate::engine::upscale::cpu::Region;
use candle_core::cuda::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Result, Storage, Tensor, bail};

/// The compiled kernels.
pub const CONVERT_PTX: &str = include_str!("kernels/convert.ptx");

/// Converts on one device.
pub struct Converter {
    device: CudaDevice,
}

impl Converter {
    pub fn new(device: CudaDevice) -> Converter {
        Converter { device }
    }

    /// Bytes of the device's memory that nobody has.
    pub fn free_bytes(&self) -> Result<u64> {
        let (free, _) = self.device.cuda_stream().context().mem_get_info().map_err(candle_core::Error::wrap)?;
        Ok(free as u64)
    }

    /// As `convert::tile_in`, into a tensor [1, 3, h, w]. Only the bytes of `region` are sent to the device.
    pub fn tile_in(&self, rgb: &[u8], width: usize, height: usize, region: Region) -> Result<Tensor> {
        assert_eq!(rgb.len(), width * height * 3, "the picture has another size");
        let rows = region.h.min(height.saturating_sub(region.y));
        let columns = region.w.min(width.saturating_sub(region.x));
        let mut bytes = Vec::with_capacity(rows * columns * 3);
        for row in 0..rows {
            bytes.extend_from_slice(&rgb[((region.y + row) * width + region.x) * 3..][..columns * 3]);
        }
        let from = self.device.clone_htod(&bytes)?;
        let mut tile = self.device.alloc_zeros::<f32>(3 * region.w * region.h)?;
        let function = self.device.get_or_load_custom_func("tile_in", "kiln_convert", CONVERT_PTX)?;
        let (pitch, columns, rows) = (columns as u32, columns as u32, rows as u32);
        let (tile_width, tile_height) = (region.w as u32, region.h as u32);
        let mut launch = function.builder();
        launch.arg(&from).arg(&pitch).arg(&columns).arg(&rows).arg(&mut tile).arg(&tile_width).arg(&tile_height);
        // SAFETY: the arguments are those of the kernel in order and type; it reads rows × columns pixels of `from` and writes
        // [3][h][w] of `tile`, which are the sizes of the two.
        unsafe { launch.launch(grid(region.w, region.h)) }.map_err(candle_core::Error::wrap)?;
        let storage = CudaStorage::wrap_cuda_slice(tile, self.device.clone());
        Ok(Tensor::from_storage(Storage::Cuda(storage), (1, 3, region.h, region.w), BackpropOp::none(), false))
    }

    /// As `convert::tile_out`, of a contiguous tensor [3, h, w] on this device, into h rows of w pixels.
    pub fn tile_out(&self, tile: &Tensor) -> Result<Vec<u8>> {
        let (channels, height, width) = tile.dims3()?;
        let (storage, layout) = tile.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { bail!("the tile is not on the GPU") };
        if channels != 3 || layout.contiguous_offsets() != Some((0, 3 * height * width)) {
            bail!("the tile is not three whole planes");
        }
        let planes = storage.as_cuda_slice::<f32>()?;
        let mut rgb = self.device.alloc_zeros::<u8>(3 * width * height)?;
        let function = self.device.get_or_load_custom_func("tile_out", "kiln_convert", CONVERT_PTX)?;
        let (w, h) = (width as u32, height as u32);
        let mut launch = function.builder();
        launch.arg(planes).arg(&w).arg(&h).arg(&mut rgb);
        // SAFETY: as in `tile_in`; both buffers hold 3 × width × height values.
        unsafe { launch.launch(grid(width, height)) }.map_err(candle_core::Error::wrap)?;
        self.device.clone_dtoh(&rgb)
    }
}

fn grid(width: usize, height: usize) -> LaunchConfig {
    const BLOCK: (u32, u32) = (32, 8);
    LaunchConfig { grid_dim: ((width as u32).div_ceil(BLOCK.0), (height as u32).div_ceil(BLOCK.1), 1), block_dim: (BLOCK.0, BLOCK.1, 1), shared_mem_bytes: 0 }
}
