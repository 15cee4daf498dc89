//! The networks' numbers against PyTorch's on the same weights (worker/tests/data, made by scripts/reference/make-tensors).

mod common;

use common::{models, reference, worst};
use kiln_worker::engine::upscale::Network;
use kiln_worker::engine::upscale::cpu::{CpuNetwork, Level, Region};

/// Values are 0..=1; a byte of the result is 1/255 = 4e-3.
const TOLERANCE: f32 = 1e-4;

#[test]
fn every_factor_agrees_with_pytorch_on_every_instruction_set() {
    let input = reference("input", 1);
    for scale in 2..=4 {
        let net = models::load_upscaler(&models::dir(), scale).unwrap_or_else(|error| panic!("{error}"));
        let expected = reference(&format!("output-x{scale}"), scale as usize);
        let whole = Region { x: 0, y: 0, w: input.width, h: input.height };
        for level in Level::all() {
            let output = CpuNetwork::with_level(&net, level).run(&input, whole).unwrap();
            let worst = worst(&expected, &output);
            println!("x{scale} {level:?}: largest difference {worst:.1e}");
            assert!(worst < TOLERANCE, "x{scale} {level:?}: {worst}");
        }
    }
}

#[test]
fn a_tile_is_the_same_as_its_part_of_the_whole() {
    let input = reference("input", 1);
    let whole = Region { x: 0, y: 0, w: input.width, h: input.height };
    for scale in 2..=4 {
        let net = models::load_upscaler(&models::dir(), scale).unwrap_or_else(|error| panic!("{error}"));
        let network = CpuNetwork::new(&net);
        let scale = scale as usize;
        let untiled = network.run(&input, whole).unwrap();
        for keep in [Region { x: 0, y: 0, w: 7, h: 5 }, Region { x: 11, y: 9, w: 13, h: 6 }, Region { x: 26, y: 20, w: 1, h: 1 }] {
            let tile = network.run(&input, keep).unwrap();
            for channel in 0..3 {
                for y in 0..tile.height {
                    let from = (keep.y * scale + y) * untiled.width + keep.x * scale;
                    let (a, b) = (&untiled.plane(channel)[from..][..tile.width], &tile.plane(channel)[y * tile.width..][..tile.width]);
                    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst < TOLERANCE, "x{scale} {keep:?}: {worst}");
                }
            }
        }
    }
}
