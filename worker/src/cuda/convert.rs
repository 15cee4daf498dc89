//! Between pictures (rows of R, G, B bytes) and the network's tiles (planes of floats 0..=1), on the CPU.
//!
//! `kernels/convert.cu` does the same on the GPU, bit for bit; a test with a GPU compares them.

use crate::engine::upscale::Planes;
use crate::engine::upscale::cpu::Region;

/// The pixels of `region` as planes. What lies outside of the picture is 0.
pub fn tile_in(rgb: &[u8], width: usize, height: usize, region: Region) -> Planes {
    assert_eq!(rgb.len(), width * height * 3, "the picture has another size");
    let mut tile = Planes::new(region.w, region.h);
    let rows = region.h.min(height.saturating_sub(region.y));
    let columns = region.w.min(width.saturating_sub(region.x));
    for (channel, plane) in tile.data.chunks_exact_mut((region.w * region.h).max(1)).enumerate() {
        for (row, to) in plane.chunks_exact_mut(region.w).enumerate().take(rows) {
            let from = &rgb[((region.y + row) * width + region.x) * 3..][..columns * 3];
            for (to, from) in to.iter_mut().zip(from.as_chunks::<3>().0) {
                *to = f32::from(from[channel]) / 255.0;
            }
        }
    }
    tile
}

/// The whole tile into the picture with its first pixel at (`x`, `y`), clamped to 0..=1 and rounded; a NaN becomes 0.
pub fn tile_out(tile: &Planes, rgb: &mut [u8], width: usize, x: usize, y: usize) {
    let planes = [tile.plane(0), tile.plane(1), tile.plane(2)];
    for row in 0..tile.height {
        let to = &mut rgb[((y + row) * width + x) * 3..][..tile.width * 3];
        for (column, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            for (to, plane) in to.iter_mut().zip(planes) {
                *to = to_byte(plane[row * tile.width + column]);
            }
        }
    }
}

#[allow(clippy::manual_clamp)] // clamp keeps a NaN
fn to_byte(value: f32) -> u8 {
    // In this order, and with max before min, a NaN ends as 0; the kernel's fmaxf and fminf do the same.
    ((value * 255.0).max(0.0).min(255.0) + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_in_and_out() {
        let rgb: Vec<u8> = (0..768u32).map(|i| (i / 3) as u8).collect();
        let tile = tile_in(&rgb, 16, 16, Region { x: 0, y: 0, w: 16, h: 16 });
        let mut back = vec![9; 768];
        tile_out(&tile, &mut back, 16, 0, 0);
        assert_eq!(rgb, back);
    }

    #[test]
    fn outside_of_the_picture_there_are_zeros() {
        let tile = tile_in(&[255; 12], 2, 2, Region { x: 1, y: 1, w: 3, h: 2 });
        for channel in 0..3 {
            assert_eq!(tile.plane(channel), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn what_can_not_be_shown_is_clamped() {
        assert_eq!([-1.0, 2.0, f32::NAN, f32::INFINITY, 0.5, 0.49 / 255.0, 0.51 / 255.0].map(to_byte), [0, 255, 0, 255, 128, 0, 1]);
    }

    #[test]
    fn a_tile_lands_at_its_place_and_nowhere_else() {
        let mut rgb = vec![7; 4 * 3 * 3];
        tile_out(&Planes { width: 2, height: 1, data: vec![1.0; 6] }, &mut rgb, 4, 1, 2);
        let changed: Vec<usize> = (0..12).filter(|p| rgb[p * 3] != 7).collect();
        assert_eq!(changed, [9, 10]);
    }
}
