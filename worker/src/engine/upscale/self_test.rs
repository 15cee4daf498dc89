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

/// What a tile needs of a device's memory, for each pixel that the network sees of it: twice a layer's 64 channels of floats, nine times each, as a
/// convolution may lay them out.
const BYTES_A_PIXEL: u64 = 2 * 64 * 9 * 4;
/// Input pixels that a tile's time is told for.
const TIMED_PIXELS: u64 = 256 * 256;

/// A tile as large as a job's, on a device with a memory of its own: others may have taken too much of that, and its time is the machine's speed. The
/// CPU's own time is better spent on the first job. `most_ms` is for [`TIMED_PIXELS`].
pub fn whole_tile(network: &dyn Network, tile: usize, most_ms: u64) -> Result<(), String> {
    let failed = |error| format!("a tile of {tile} × {tile}: {error}");
    let Some(free) = network.free_bytes().map_err(failed)? else { return Ok(()) };
    let side = tile + 2 * network.reach();
    let (mb, needed) = (|bytes: u64| bytes / 1_000_000, BYTES_A_PIXEL * (side * side) as u64);
    if free < needed {
        return Err(format!("a tile of {tile} × {tile} needs {} MB of the GPU's memory, and {} are free", mb(needed), mb(free)));
    }
    let (input, keep) = (Planes::new(side, side), Region { x: network.reach(), y: network.reach(), w: tile, h: tile });
    let most = (most_ms * (tile * tile) as u64 / TIMED_PIXELS).max(most_ms);
    let time = || {
        let began = std::time::Instant::now();
        network.run(&input, keep).map_err(failed)?;
        Ok::<_, String>(began.elapsed().as_millis() as u64)
    };
    // The first one may also be the kernels' compilation.
    let first = time()?;
    let ms = if first > most { time()? } else { first };
    tracing::info!(scale = network.scale(), tile, ms, most_ms = most, free_mb = mb(free), needed_mb = mb(needed), "a whole tile");
    if ms > most {
        return Err(format!("a tile of {tile} × {tile} takes the GPU {ms} ms, and may take {most}: it is too slow"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

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

    /// A GPU with so many bytes free that takes so long, the first time and after that; it counts what it is asked for.
    struct Gpu(Option<u64>, [u64; 2], AtomicUsize);

    impl Gpu {
        fn new(free: Option<u64>, takes_ms: [u64; 2]) -> Self {
            Self(free, takes_ms, AtomicUsize::new(0))
        }
        fn tiles(&self) -> usize {
            self.2.load(Ordering::SeqCst)
        }
    }

    impl Network for Gpu {
        fn scale(&self) -> usize {
            2
        }
        fn reach(&self) -> usize {
            19
        }
        fn free_bytes(&self) -> Result<Option<u64>, EngineError> {
            Ok(self.0)
        }
        fn run(&self, input: &Planes, keep: Region) -> Result<Planes, EngineError> {
            assert!(input.width == keep.w + 38 && input.height == keep.h + 38, "it does not see all of the tile");
            let before = self.2.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(self.1[before.min(1)]));
            Ok(Planes::new(0, 0))
        }
    }

    #[test]
    fn a_gpu_whose_memory_others_have_fails_before_it_is_asked_for_a_tile() {
        // 294 × 294 pixels are seen of a tile of 256.
        let needed = BYTES_A_PIXEL * 294 * 294;
        let full = Gpu::new(Some(needed - 1), [0, 0]);
        let why = whole_tile(&full, 256, 60_000).unwrap_err();
        assert!(why.contains("398 MB") && why.contains("are free") && full.tiles() == 0, "{why}");
        let free = Gpu::new(Some(needed), [0, 0]);
        assert_eq!((whole_tile(&free, 256, 60_000), free.tiles()), (Ok(()), 1));
        // A larger tile needs more.
        assert!(whole_tile(&free, 257, 60_000).is_err());
        // The CPU has no memory of its own, and is asked for nothing.
        let cpu = Gpu::new(None, [0, 0]);
        assert_eq!((whole_tile(&cpu, 256, 1), cpu.tiles()), (Ok(()), 0));
    }

    #[test]
    fn a_gpu_that_is_far_too_slow_fails_and_one_that_was_slow_once_does_not() {
        let slow = Gpu::new(Some(u64::MAX), [60, 60]);
        let why = whole_tile(&slow, 64, 20).unwrap_err();
        assert!(why.contains("too slow") && slow.tiles() == 2, "{why}");
        // Its kernels were compiled the first time.
        let cold = Gpu::new(Some(u64::MAX), [2_500, 0]);
        assert_eq!((whole_tile(&cold, 64, 2_000), cold.tiles()), (Ok(()), 2));
        // Four times the pixels may take four times as long.
        assert_eq!(whole_tile(&Gpu::new(Some(u64::MAX), [600, 600]), 512, 500), Ok(()));
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
