//! The upscaler's self-test: a picture of 27 × 21 pixels through each network, held against what PyTorch made of it (the tensors of the tests), and
//! the same picture as bytes, as a job's photo goes. It finds a device that computes wrong and kernels that it does not run; each network takes it milliseconds.

use super::cpu::Region;
use super::{Network, Planes};
use crate::cuda::convert;
use crate::image_io::Picture;

const SIZE: (usize, usize) = (27, 21);
const INPUT: &[u8] = include_bytes!("../../../tests/data/input.f32");
const OUTPUTS: [(usize, &[u8]); 3] = [
    (2, include_bytes!("../../../tests/data/output-x2.f32")),
    (3, include_bytes!("../../../tests/data/output-x3.f32")),
    (4, include_bytes!("../../../tests/data/output-x4.f32")),
];
/// Of values 0..1. Our kernels are a thousandth of it apart; a device may round more coarsely. One weight or one pixel that is wrong is far more.
const MOST_APART: f32 = 5e-3;
/// Of bytes, for the same reason.
const MOST_LEVELS: u8 = 2;

fn planes(bytes: &[u8], scale: usize) -> Planes {
    let data = bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
    Planes { width: SIZE.0 * scale, height: SIZE.1 * scale, data }
}

/// Or what is wrong.
pub fn check(network: &dyn Network) -> Result<(), String> {
    let scale = network.scale();
    let (_, wanted) = OUTPUTS.iter().find(|(known, _)| *known == scale).ok_or_else(|| format!("nothing is known of a network that enlarges {scale} times"))?;
    let (input, wanted) = (planes(INPUT, 1), planes(wanted, scale));
    let whole = Region { x: 0, y: 0, w: input.width, h: input.height };
    let failed = |error| format!("×{scale}: {error}");
    let made = network.run(&input, whole).map_err(failed)?;
    if (made.width, made.height, made.data.len()) != (wanted.width, wanted.height, wanted.data.len()) {
        return Err(format!("×{scale}: the result has another size"));
    }
    // A NaN is apart from everything.
    let wrong = |apart: &f32| apart.is_nan() || *apart > MOST_APART;
    if let Some(apart) = made.data.iter().zip(&wanted.data).map(|(made, wanted)| (made - wanted).abs()).find(wrong) {
        return Err(format!("×{scale}: the result is {apart} apart from what it must be"));
    }

    let mut photo = Picture { width: input.width, height: input.height, rgb: vec![0; 3 * input.width * input.height], alpha: None };
    convert::tile_out(&input, &mut photo.rgb, input.width, 0, 0);
    let mut band = vec![0; 3 * wanted.width * wanted.height];
    network.tile(&photo, whole, &mut band).map_err(failed)?;
    let mut judge = vec![0; band.len()];
    let exact = network.run(&convert::tile_in(&photo.rgb, photo.width, photo.height, whole), whole).map_err(failed)?;
    convert::tile_out(&exact, &mut judge, wanted.width, 0, 0);
    match band.iter().zip(&judge).map(|(made, judge)| made.abs_diff(*judge)).max() {
        Some(levels) if levels > MOST_LEVELS => Err(format!("×{scale}: a picture's bytes are {levels} levels apart from what they must be")),
        _ => Ok(()),
    }
}

/// A tile as large as a job's. It is what needs the device's memory, of which others may have taken too much, and its time is the machine's speed.
pub fn whole_tile(network: &dyn Network, tile: usize) -> Result<(), String> {
    let (began, reach) = (std::time::Instant::now(), network.reach());
    let keep = Region { x: reach, y: reach, w: tile, h: tile };
    network.run(&Planes::new(tile + 2 * reach, tile + 2 * reach), keep).map_err(|error| format!("a tile of {tile} × {tile}: {error}"))?;
    tracing::info!(scale = network.scale(), tile, ms = began.elapsed().as_millis() as u64, "a whole tile");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    /// What it must make, but for one value.
    struct Fake(f32, usize);

    impl Network for Fake {
        fn scale(&self) -> usize {
            self.1
        }
        fn reach(&self) -> usize {
            0
        }
        fn run(&self, _: &Planes, _: Region) -> Result<Planes, EngineError> {
            let mut made = planes(OUTPUTS[0].1, 2);
            made.data[100] += self.0;
            Ok(made)
        }
    }

    #[test]
    fn one_wrong_value_fails_it() {
        assert_eq!(check(&Fake(0.0, 2)), Ok(()));
        assert_eq!(check(&Fake(1e-4, 2)), Ok(()));
        for wrong in [0.02, -0.02, f32::NAN, f32::INFINITY] {
            assert!(check(&Fake(wrong, 2)).unwrap_err().contains("apart"), "{wrong}");
        }
        assert!(check(&Fake(0.0, 3)).unwrap_err().contains("size"));
        assert!(check(&Fake(0.0, 5)).is_err());
    }
}
