//! The network's tail: pixel shuffle, the enlarged input added, and the bicubic reduction that makes x2 and x3 of x4.

use super::super::Planes;
use super::winograd::Region;
use rayon::prelude::*;

/// `features` hold the pixels of `region`, `stride` floats each, the first 3 × `shuffle`² of them the channels of the last
/// convolution. Gives the pixels of `keep` enlarged `scale` times.
pub fn enlarge(input: &Planes, features: &[f32], stride: usize, region: Region, keep: Region, shuffle: usize, scale: usize) -> Planes {
    let mut out = Planes::new(keep.w * scale, keep.h * scale);
    let (x0, y0) = (keep.x - region.x, keep.y - region.y);
    let across = Taps::new(x0 * scale, keep.w * scale, region.w * shuffle, shuffle, scale);
    let down = Taps::new(y0 * scale, keep.h * scale, region.h * shuffle, shuffle, scale);
    let (width, height) = (out.width, out.height);

    // Bands of 16 input rows bound what lies between the two passes.
    let band = 16 * scale;
    let planes: Vec<(usize, &mut [f32])> = out.data.chunks_exact_mut(width * height).enumerate().collect();
    planes.into_par_iter().for_each(|(channel, plane)| {
        let source = Source { input, features, stride, region, shuffle, channel };
        plane.par_chunks_mut(width * band).enumerate().for_each_init(Vec::new, |between, (number, rows)| {
            let first_row = number * band;
            let lines = rows.len() / width;
            let taps = &down.0[first_row..first_row + lines];
            let low = taps.iter().flat_map(|t| t.at).min().unwrap_or(0);
            let high = taps.iter().flat_map(|t| t.at).max().unwrap_or(0);
            between.clear();
            between.resize((high - low + 1) * width, 0.0);
            let mut line = vec![0.0; region.w * shuffle];
            for (row, to) in between.chunks_exact_mut(width).enumerate() {
                source.line(low + row, &mut line);
                for (to, tap) in to.iter_mut().zip(&across.0) {
                    *to = tap.weight[0] * line[tap.at[0]] + tap.weight[1] * line[tap.at[1]] + tap.weight[2] * line[tap.at[2]] + tap.weight[3] * line[tap.at[3]];
                }
            }
            for (to, tap) in rows.chunks_exact_mut(width).zip(taps) {
                let row = |i: usize| &between[(tap.at[i] - low) * width..][..width];
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                for x in 0..width {
                    to[x] = tap.weight[0] * a[x] + tap.weight[1] * b[x] + tap.weight[2] * c[x] + tap.weight[3] * d[x];
                }
            }
        });
    });
    out
}

/// One colour of the network's output at `shuffle` times the input's size.
struct Source<'a> {
    input: &'a Planes,
    features: &'a [f32],
    stride: usize,
    region: Region,
    shuffle: usize,
    channel: usize,
}

impl Source<'_> {
    fn line(&self, y: usize, line: &mut [f32]) {
        let (row, within) = (y / self.shuffle, y % self.shuffle);
        let features = &self.features[row * self.region.w * self.stride..][..self.region.w * self.stride];
        let base = &self.input.plane(self.channel)[(self.region.y + row) * self.input.width + self.region.x..];
        let first = (self.channel * self.shuffle + within) * self.shuffle;
        for ((to, pixel), base) in line.chunks_exact_mut(self.shuffle).zip(features.chunks_exact(self.stride)).zip(base) {
            for (to, feature) in to.iter_mut().zip(&pixel[first..]) {
                *to = feature + base;
            }
        }
    }
}

/// Which four values make one output value along a line, and how much of each.
struct Tap {
    at: [usize; 4],
    weight: [f32; 4],
}

struct Taps(Vec<Tap>);

impl Taps {
    /// For the outputs `first..first + count`, over a line of `length` values at `shuffle` times the input's size. At its ends
    /// the line is continued by its last value; that happens only where the picture itself ends.
    fn new(first: usize, count: usize, length: usize, shuffle: usize, scale: usize) -> Taps {
        let tap = |out: usize| {
            if scale == shuffle {
                return Tap { at: [out; 4], weight: [1.0, 0.0, 0.0, 0.0] };
            }
            let centre = (out as f32 + 0.5) * (shuffle as f32 / scale as f32) - 0.5;
            let floor = centre.floor();
            let at = std::array::from_fn(|i| (floor as isize + i as isize - 1).clamp(0, length as isize - 1) as usize);
            Tap { at, weight: cubic(centre - floor) }
        };
        Taps((first..first + count).map(tap).collect())
    }
}

/// The same taps as a matrix, [count][length], for who would rather multiply.
#[cfg(feature = "candle")]
pub fn reduction_matrix(first: usize, count: usize, length: usize, shuffle: usize, scale: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; count * length];
    for (row, tap) in matrix.chunks_exact_mut(length).zip(&Taps::new(first, count, length, shuffle, scale).0) {
        for (at, weight) in tap.at.into_iter().zip(tap.weight) {
            row[at] += weight;
        }
    }
    matrix
}

/// Keys' cubic convolution (1981) with a = -0.75, as PyTorch and ncnn have it, at distances 1 + t, t, 1 - t, 2 - t.
fn cubic(t: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cubic_weights_are_the_known_ones() {
        assert_eq!(cubic(0.0), [0.0, 1.0, 0.0, 0.0]);
        let half = cubic(0.5);
        for (weight, known) in half.iter().zip([-0.09375, 0.59375, 0.59375, -0.09375]) {
            assert!((weight - known).abs() < 1e-6);
        }
    }
}
