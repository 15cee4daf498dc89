//! 3 × 3 convolutions by Winograd's minimal filtering F(4×4, 3×3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015, section 4.3): 36 multiplications where the direct way takes 144.
//!
//! Data are rows of pixels, each pixel its channels side by side, so that every step is vectors over channels. A strip of four
//! output rows is the unit of parallel work; within it, blocks of 4 × 4 outputs are transformed, multiplied by the transformed
//! weights as 36 small matrix products that stay in the core's own cache, and transformed back with bias and PReLU.

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Level, Portable, Simd};
use crate::models::Conv;
use rayon::prelude::*;

/// Positions of a transformed 6 × 6 block.
const POSITIONS: usize = 36;
/// Outputs of a block along one side.
const SIDE: usize = 4;
/// Blocks that go through the matrix products together: as many as keep the scratch and the weights in 1 MiB.
const BLOCKS: usize = 24;
/// Channels are padded to a whole number of the widest vectors.
const LANES_MAX: usize = 16;

/// A rectangle of pixels in the coordinates of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub x: usize,
    pub y: usize,
    pub w: usize,
    pub h: usize,
}

impl Region {
    /// `self` with `by` more pixels on each side, as far as `bounds` goes.
    pub fn grown(self, by: usize, bounds: Region) -> Region {
        let x = self.x.saturating_sub(by).max(bounds.x);
        let y = self.y.saturating_sub(by).max(bounds.y);
        let right = (self.x + self.w + by).min(bounds.x + bounds.w);
        let bottom = (self.y + self.h + by).min(bounds.y + bounds.h);
        Region { x, y, w: right - x, h: bottom - y }
    }
}

/// Memory for floats that starts on a cache line.
#[derive(Debug, Clone, Default)]
pub struct Buffer(Vec<Line>);

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Buffer {
    /// At least `len` floats, of any value.
    pub fn ensure(&mut self, len: usize) {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
    }

    pub fn floats(&self) -> &[f32] {
        // SAFETY: `Line` is 16 floats without padding (64 bytes, checked below), and the borrow is passed on.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    pub fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `floats`.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }
}

const _: () = assert!(size_of::<Line>() == 64);

/// A convolution made ready: its weights are transformed.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Channels that the matrix product sums over, and the distance between pixels of the input.
    inputs: usize,
    input_stride: usize,
    outputs: usize,
    /// [position][input][output]
    weights: Buffer,
    bias: Buffer,
    slope: Option<Buffer>,
}

/// Channels as they lie in memory.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES_MAX)
}

impl Layer {
    pub fn new(conv: &Conv) -> Layer {
        let outputs = padded(conv.outputs);
        let mut weights = Buffer::default();
        weights.ensure(POSITIONS * conv.inputs * outputs);
        let floats = weights.floats_mut();
        for (out, filters) in conv.weight.chunks_exact(conv.inputs * 9).enumerate() {
            for (input, filter) in filters.as_chunks::<9>().0.iter().enumerate() {
                for (position, value) in transform_filter(filter).into_iter().enumerate() {
                    floats[(position * conv.inputs + input) * outputs + out] = value;
                }
            }
        }
        let padded_copy = |values: &[f32]| {
            let mut buffer = Buffer::default();
            buffer.ensure(outputs);
            buffer.floats_mut()[..values.len()].copy_from_slice(values);
            buffer
        };
        Layer {
            inputs: conv.inputs,
            input_stride: padded(conv.inputs),
            outputs,
            weights,
            bias: padded_copy(&conv.bias),
            slope: conv.slope.as_deref().map(padded_copy),
        }
    }

    /// Distance between pixels of the output, in floats.
    pub fn output_stride(&self) -> usize {
        self.outputs
    }

    /// Computes the pixels of `to` into `output` from those of `from` in `input`. Outside of `from` there are zeros: it must
    /// hold every neighbour of `to` that the picture has.
    pub fn run(&self, level: Level, input: &[f32], from: Region, output: &mut [f32], to: Region) {
        assert!(input.len() >= from.w * from.h * self.input_stride, "the input is smaller than its region");
        let output = &mut output[..to.w * to.h * self.outputs];
        output.par_chunks_mut(SIDE * to.w * self.outputs).enumerate().for_each_init(Scratch::default, |scratch, (strip, rows)| {
            scratch.v.ensure(POSITIONS * BLOCKS * self.input_stride);
            scratch.m.ensure(POSITIONS * BLOCKS * self.outputs);
            let work = Strip {
                layer: self,
                input,
                from,
                // The patch of the first block starts one pixel above and left of its outputs.
                top: (to.y + strip * SIDE) as isize - 1 - from.y as isize,
                left: to.x as isize - 1 - from.x as isize,
                width: to.w,
                height: rows.len() / (to.w * self.outputs),
            };
            // SAFETY: `Level` is made by detection only, so the instruction set is there; sizes are asserted above.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => strip_avx512(&work, scratch, rows),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => strip_avx2(&work, scratch, rows),
                    Level::Portable => run_strip::<Portable>(&work, scratch, rows),
                }
            }
        });
    }
}

/// G g Gᵀ
fn transform_filter(g: &[f32; 9]) -> [f32; POSITIONS] {
    // In double, so that the weights' own error is one rounding.
    const G: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    std::array::from_fn(|position| {
        let (row, column) = (position / 6, position % 6);
        let mut sum = 0.0;
        for (y, gy) in G[row].iter().enumerate() {
            for (x, gx) in G[column].iter().enumerate() {
                sum += gy * gx * f64::from(g[3 * y + x]);
            }
        }
        sum as f32
    })
}

#[derive(Default)]
struct Scratch {
    /// [position][block][input], the transformed patches.
    v: Buffer,
    /// [position][block][output], their products with the weights.
    m: Buffer,
}

struct Strip<'a> {
    layer: &'a Layer,
    input: &'a [f32],
    from: Region,
    top: isize,
    left: isize,
    /// Size of the output, in pixels; the height is 4 but in the last strip.
    width: usize,
    height: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn strip_avx512(work: &Strip, scratch: &mut Scratch, rows: &mut [f32]) {
    unsafe { run_strip::<Avx512>(work, scratch, rows) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn strip_avx2(work: &Strip, scratch: &mut Scratch, rows: &mut [f32]) {
    unsafe { run_strip::<Avx2>(work, scratch, rows) }
}

#[inline(always)]
unsafe fn run_strip<S: Simd>(work: &Strip, scratch: &mut Scratch, rows: &mut [f32]) {
    let across = work.width.div_ceil(SIDE);
    let (v, m) = (scratch.v.floats_mut().as_mut_ptr(), scratch.m.floats_mut().as_mut_ptr());
    let mut first = 0;
    while first < across {
        let count = BLOCKS.min(across - first);
        unsafe {
            for block in 0..count {
                transform_input::<S>(work, first + block, v.add(block * work.layer.input_stride));
            }
            multiply::<S>(work.layer, count, v, m);
            for block in 0..count {
                transform_output::<S>(work, first + block, m.add(block * work.layer.outputs), rows);
            }
        }
        first += count;
    }
}

/// Bᵀ d B of one patch, all channels.
#[inline(always)]
unsafe fn transform_input<S: Simd>(work: &Strip, block: usize, v: *mut f32) {
    let stride = work.layer.input_stride;
    let (w, h) = (work.from.w as isize, work.from.h as isize);
    let x0 = work.left + (block * SIDE) as isize;
    let y0 = work.top;
    let inside = x0 >= 0 && y0 >= 0 && x0 + 6 <= w && y0 + 6 <= h;
    unsafe {
        let zero = S::splat(0.0);
        let mut channel = 0;
        while channel < stride {
            let mut d = [zero; POSITIONS];
            if inside {
                let start = work.input.as_ptr().add((y0 as usize * work.from.w + x0 as usize) * stride + channel);
                for (i, d) in d.iter_mut().enumerate() {
                    *d = S::load(start.add((i / 6 * work.from.w + i % 6) * stride));
                }
            } else {
                for (i, d) in d.iter_mut().enumerate() {
                    let (x, y) = (x0 + (i % 6) as isize, y0 + (i / 6) as isize);
                    if x >= 0 && y >= 0 && x < w && y < h {
                        *d = S::load(work.input.as_ptr().add((y as usize * work.from.w + x as usize) * stride + channel));
                    }
                }
            }
            for column in 0..6 {
                let t = input_1d::<S>([d[column], d[6 + column], d[12 + column], d[18 + column], d[24 + column], d[30 + column]]);
                for (row, t) in t.into_iter().enumerate() {
                    d[6 * row + column] = t;
                }
            }
            for row in 0..6 {
                let t = input_1d::<S>([d[6 * row], d[6 * row + 1], d[6 * row + 2], d[6 * row + 3], d[6 * row + 4], d[6 * row + 5]]);
                for (column, t) in t.into_iter().enumerate() {
                    S::store(v.add((6 * row + column) * BLOCKS * stride + channel), t);
                }
            }
            channel += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn input_1d<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    unsafe {
        let (two, minus_two) = (S::splat(2.0), S::splat(-2.0));
        let (four, minus_four, minus_five) = (S::splat(4.0), S::splat(-4.0), S::splat(-5.0));
        let a = S::mul_add(minus_four, d[2], d[4]);
        let b = S::mul_add(minus_four, d[1], d[3]);
        let c = S::sub(d[4], d[2]);
        let e = S::sub(d[3], d[1]);
        [
            S::mul_add(four, d[0], S::mul_add(minus_five, d[2], d[4])),
            S::add(a, b),
            S::sub(a, b),
            S::mul_add(two, e, c),
            S::mul_add(minus_two, e, c),
            S::mul_add(four, d[1], S::mul_add(minus_five, d[3], d[5])),
        ]
    }
}

/// M = V U at each position.
#[inline(always)]
unsafe fn multiply<S: Simd>(layer: &Layer, count: usize, v: *const f32, m: *mut f32) {
    const ROWS: usize = 6;
    const { assert!(BLOCKS.is_multiple_of(ROWS)) }; // a last group that is not full works on what lies there, and nobody reads it
    let vectors = layer.outputs / S::LANES;
    let u = layer.weights.floats().as_ptr();
    for position in 0..POSITIONS {
        unsafe {
            let u = u.add(position * layer.inputs * layer.outputs);
            let v = v.add(position * BLOCKS * layer.input_stride);
            let m = m.add(position * BLOCKS * layer.outputs);
            let mut row = 0;
            while row < count {
                let (v, m) = (v.add(row * layer.input_stride), m.add(row * layer.outputs));
                let mut column = 0;
                while column < vectors {
                    let at = column * S::LANES;
                    // 24 sums fit the 32 registers of AVX-512; 12 fit the 16 of AVX2.
                    column += if S::LANES == 16 && vectors.is_multiple_of(4) {
                        product::<S, ROWS, 4>(layer, v, u.add(at), m.add(at));
                        4
                    } else if S::LANES == 16 && vectors.is_multiple_of(3) {
                        product::<S, ROWS, 3>(layer, v, u.add(at), m.add(at));
                        3
                    } else if vectors.is_multiple_of(2) {
                        product::<S, ROWS, 2>(layer, v, u.add(at), m.add(at));
                        2
                    } else {
                        product::<S, ROWS, 1>(layer, v, u.add(at), m.add(at));
                        1
                    };
                }
                row += ROWS;
            }
        }
    }
}

/// `ROWS` blocks times `COLUMNS` vectors of outputs, summed in registers.
#[inline(always)]
unsafe fn product<S: Simd, const ROWS: usize, const COLUMNS: usize>(layer: &Layer, v: *const f32, u: *const f32, m: *mut f32) {
    unsafe {
        let mut sums = [[S::splat(0.0); COLUMNS]; ROWS];
        for k in 0..layer.inputs {
            let mut weights = [S::splat(0.0); COLUMNS];
            for (column, w) in weights.iter_mut().enumerate() {
                *w = S::load(u.add(k * layer.outputs + column * S::LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*v.add(row * layer.input_stride + k));
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum = S::mul_add(x, w, *sum);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (column, sum) in sums.into_iter().enumerate() {
                S::store(m.add(row * layer.outputs + column * S::LANES), sum);
            }
        }
    }
}

/// Aᵀ m A of one block, bias, PReLU, and into the output as far as it goes.
#[allow(clippy::needless_range_loop)] // the transform's indices, as in the paper
#[inline(always)]
unsafe fn transform_output<S: Simd>(work: &Strip, block: usize, m: *const f32, rows: &mut [f32]) {
    let stride = work.layer.outputs;
    let x0 = block * SIDE;
    let (columns, lines) = (SIDE.min(work.width - x0), SIDE.min(work.height));
    debug_assert!(rows.len() >= ((lines - 1) * work.width + x0 + columns) * stride);
    unsafe {
        let zero = S::splat(0.0);
        let mut channel = 0;
        while channel < stride {
            let mut t = [[zero; 6]; SIDE];
            for column in 0..6 {
                let at = |row: usize| m.add((6 * row + column) * BLOCKS * stride + channel);
                let s = output_1d::<S>([S::load(at(0)), S::load(at(1)), S::load(at(2)), S::load(at(3)), S::load(at(4)), S::load(at(5))]);
                for (row, s) in s.into_iter().enumerate() {
                    t[row][column] = s;
                }
            }
            let bias = S::load(work.layer.bias.floats().as_ptr().add(channel));
            let slope = match &work.layer.slope {
                Some(slope) => S::load(slope.floats().as_ptr().add(channel)),
                None => S::splat(1.0),
            };
            for (row, t) in t.into_iter().enumerate().take(lines) {
                let to = rows.as_mut_ptr().add((row * work.width + x0) * stride + channel);
                for (column, s) in output_1d::<S>(t).into_iter().enumerate().take(columns) {
                    let s = S::add(s, bias);
                    let s = S::mul_add(slope, S::min(s, zero), S::max(s, zero));
                    S::store(to.add(column * stride), s);
                }
            }
            channel += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn output_1d<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    unsafe {
        let (two, four, eight) = (S::splat(2.0), S::splat(4.0), S::splat(8.0));
        let (a, b) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (c, d) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [S::add(S::add(m[0], a), c), S::mul_add(two, d, b), S::mul_add(four, c, a), S::add(S::mul_add(eight, d, b), m[5])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The definition of the convolution, in double.
    fn direct(conv: &Conv, input: &[f32], from: Region, to: Region) -> Vec<f32> {
        let stride = padded(conv.inputs);
        let mut out = vec![0.0; to.w * to.h * padded(conv.outputs)];
        for (y, x, o) in (0..to.h).flat_map(|y| (0..to.w).flat_map(move |x| (0..conv.outputs).map(move |o| (y, x, o)))) {
            let mut sum = f64::from(conv.bias[o]);
            for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                let (sy, sx) = ((to.y + y + ky) as isize - 1 - from.y as isize, (to.x + x + kx) as isize - 1 - from.x as isize);
                if sy < 0 || sx < 0 || sy >= from.h as isize || sx >= from.w as isize {
                    continue;
                }
                for i in 0..conv.inputs {
                    let pixel = input[(sy as usize * from.w + sx as usize) * stride + i];
                    sum += f64::from(pixel) * f64::from(conv.weight[(o * conv.inputs + i) * 9 + ky * 3 + kx]);
                }
            }
            let slope = conv.slope.as_ref().map_or(1.0, |s| f64::from(s[o]));
            out[(y * to.w + x) * padded(conv.outputs) + o] = if sum < 0.0 { sum * slope } else { sum } as f32;
        }
        out
    }

    #[test]
    fn every_instruction_set_agrees_with_the_definition() {
        let regions = [
            // The whole picture, a part of it with its neighbours, and a single pixel.
            (Region { x: 0, y: 0, w: 37, h: 18 }, Region { x: 0, y: 0, w: 37, h: 18 }),
            (Region { x: 5, y: 7, w: 21, h: 19 }, Region { x: 6, y: 8, w: 19, h: 17 }),
            (Region { x: 0, y: 3, w: 12, h: 9 }, Region { x: 0, y: 4, w: 11, h: 8 }),
            (Region { x: 0, y: 0, w: 1, h: 1 }, Region { x: 0, y: 0, w: 1, h: 1 }),
        ];
        for (inputs, outputs, sloped) in [(3, 64, true), (64, 64, true), (64, 48, false), (16, 12, true)] {
            let conv = Conv {
                inputs,
                outputs,
                weight: noise(inputs * outputs * 9, 1).iter().map(|w| w * 0.1).collect(),
                bias: noise(outputs, 2),
                slope: sloped.then(|| noise(outputs, 3)),
            };
            let layer = Layer::new(&conv);
            for (from, to) in regions {
                let input = noise(from.w * from.h * padded(inputs), 4);
                let expected = direct(&conv, &input, from, to);
                for level in Level::all() {
                    let mut output = vec![f32::NAN; expected.len()];
                    layer.run(level, &input, from, &mut output, to);
                    let worst = expected.iter().zip(&output).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst < 2e-4, "{level:?} {inputs}→{outputs} {to:?}: {worst}");
                    assert!(output.iter().all(|v| v.is_finite()));
                }
            }
        }
    }
}
