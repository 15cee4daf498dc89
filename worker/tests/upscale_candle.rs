//! Our CPU kernels against candle on the same network, and our CUDA kernels against plain Rust (features `candle`, `cuda`).

#![cfg(feature = "candle")]

mod common;

use common::{models, reference, worst};
use kiln_worker::engine::upscale::Network;
use kiln_worker::engine::upscale::candle::CandleNetwork;
use kiln_worker::engine::upscale::cpu::{CpuNetwork, Region};

#[test]
fn our_kernels_agree_with_candle_and_candle_with_pytorch() {
    let input = reference("input", 1);
    for scale in 2..=4u8 {
        let net = models::load_upscaler(&models::dir(), scale).unwrap_or_else(|error| panic!("{error}"));
        let candle = CandleNetwork::new(&net, candle_core::Device::Cpu).unwrap();
        let whole = Region { x: 0, y: 0, w: input.width, h: input.height };
        let theirs = candle.run(&input, whole).unwrap();
        assert!(worst(&theirs, &reference(&format!("output-x{scale}"), scale as usize)) < 1e-4);
        let ours = CpuNetwork::new(&net);
        for keep in [whole, Region { x: 20, y: 2, w: 7, h: 1 }] {
            let worst = worst(&ours.run(&input, keep).unwrap(), &candle.run(&input, keep).unwrap());
            println!("x{scale} {keep:?}: largest difference {worst:.1e}");
            assert!(worst < 1e-4);
        }
    }
}

/// The kernels of convert.cu are judged bit for bit. Where no GPU is, there is nothing to judge, and the test says so.
#[cfg(feature = "cuda")]
#[test]
fn the_cuda_kernels_convert_as_plain_rust_does() {
    use candle_core::{CudaDevice, Device, Tensor, backend::BackendDevice};
    use kiln_worker::cuda::{convert, device::Converter};
    use kiln_worker::engine::upscale::Planes;

    let device = match CudaDevice::new(0) {
        Ok(device) => device,
        Err(error) => {
            println!("no CUDA driver or GPU on this machine ({error}): the kernels were not run");
            return;
        }
    };
    let converter = Converter::new(device.clone());
    let rgb: Vec<u8> = (0..61 * 47 * 3u32).map(|i| ((i * 7919) >> 3) as u8).collect();
    for region in [Region { x: 0, y: 0, w: 61, h: 47 }, Region { x: 40, y: 30, w: 33, h: 29 }] {
        let tile = converter.tile_in(&rgb, 61, 47, region).unwrap();
        let values: Vec<f32> = tile.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(values, convert::tile_in(&rgb, 61, 47, region).data);
    }
    let data: Vec<f32> = (0..3 * 19 * 33).map(|i| i as f32 / 900.0 - 0.5).collect();
    let planes = Planes { width: 19, height: 33, data };
    let tensor = Tensor::from_slice(&planes.data, (3, 33, 19), &Device::Cuda(device)).unwrap();
    let mut expected = vec![0; 3 * 19 * 33];
    convert::tile_out(&planes, &mut expected, 19, 0, 0);
    assert_eq!(converter.tile_out(&tensor).unwrap(), expected);
}
