//! What may be done to the picture around the network: white balance and exposure before it, sharpening after it.
//!
//! The first two are one table per colour from the picture's own histogram, so they change no pixel's place; sharpening sees
//! the rows above and below and works on a stream of rows.

use std::io;

/// Share of the pixels at each end that may be lost to pure black and white.
const CLIP: f64 = 0.005;
/// No stretch beyond these: a picture that is meant to be dark or pale stays so.
const MAX_GAIN: f64 = 2.5;
const MAX_CAST: f64 = 1.6;

/// Takes out a colour cast: each colour is scaled so that the middle of the histogram is neutral (grey-world over the pixels
/// that are neither near black nor near white), with the overall brightness kept.
pub fn white_balance(rgb: &mut [u8]) {
    let mut sums = [0u64; 3];
    let mut count = 0u64;
    for pixel in rgb.as_chunks::<3>().0 {
        if pixel.iter().all(|v| (16..=239).contains(v)) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(*value);
            }
            count += 1;
        }
    }
    // A cast can't be told from a handful of pixels.
    if count * 50 < (rgb.len() / 3) as u64 || count == 0 {
        return;
    }
    let means = sums.map(|sum| sum as f64 / count as f64);
    let luma = luma(means);
    let tables = means.map(|mean| {
        let gain = (luma / mean).clamp(1.0 / MAX_CAST, MAX_CAST);
        table(|v| v * gain)
    });
    apply(rgb, &tables);
}

/// Stretches the brightness to the full range, the same for all colours, and brings the middle towards mid-grey.
pub fn exposure(rgb: &mut [u8]) {
    let mut histogram = [0u64; 256];
    for pixel in rgb.as_chunks::<3>().0 {
        histogram[luma(pixel.map(f64::from)).round() as usize] += 1;
    }
    let total: u64 = histogram.iter().sum();
    let quantile = |share: f64| {
        let mut seen = 0;
        histogram.iter().position(|&n| {
            seen += n;
            seen as f64 > share * total as f64
        })
    };
    let (Some(low), Some(middle), Some(high)) = (quantile(CLIP), quantile(0.5), quantile(1.0 - CLIP)) else {
        return;
    };
    if high <= low {
        return;
    }
    let gain = (255.0 / (high - low) as f64).min(MAX_GAIN);
    // Where the gain is held back, the stretch stays centred on what is there.
    let offset = if gain < MAX_GAIN { low as f64 } else { (low as f64 + high as f64) / 2.0 - 127.5 / gain };
    let stretch = move |v: f64| ((v - offset) * gain / 255.0).clamp(0.0, 1.0);
    let centre = stretch(middle as f64).clamp(0.05, 0.95);
    let gamma = (0.46f64.ln() / centre.ln()).clamp(0.75, 1.35);
    let table = table(|v| 255.0 * stretch(v).powf(gamma));
    apply(rgb, &[table; 3]);
}

fn luma([r, g, b]: [f64; 3]) -> f64 {
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn table(f: impl Fn(f64) -> f64) -> [u8; 256] {
    std::array::from_fn(|v| f(v as f64).round().clamp(0.0, 255.0) as u8)
}

fn apply(rgb: &mut [u8], tables: &[[u8; 256]; 3]) {
    for pixel in rgb.as_chunks_mut::<3>().0 {
        for (value, table) in pixel.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

/// Unsharp masking over rows of RGB: `v + amount × (v - blurred v)`, the blur being binomial over 3 × 3 pixels.
pub struct Sharpener {
    amount: f32,
    /// The row before the last one pushed, and that one.
    before: Vec<u8>,
    last: Vec<u8>,
    rows: usize,
    line: Vec<u8>,
}

impl Sharpener {
    /// `amount` is 0 (rows go through as they are) to 1; `width` is the length of a row in bytes.
    pub fn new(amount: f32, width: usize) -> Sharpener {
        Sharpener { amount, before: Vec::new(), last: Vec::new(), rows: 0, line: vec![0; width] }
    }

    /// Takes the next row and gives `sink` the one before it.
    pub fn push(&mut self, row: &[u8], mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.amount == 0.0 {
            return sink(row);
        }
        if self.rows > 0 {
            let above = if self.rows > 1 { &self.before } else { &self.last };
            sharpen(self.amount, above, &self.last, row, &mut self.line);
            sink(&self.line)?;
        }
        std::mem::swap(&mut self.before, &mut self.last);
        self.last.clear();
        self.last.extend_from_slice(row);
        self.rows += 1;
        Ok(())
    }

    /// Gives `sink` the last row.
    pub fn finish(mut self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let above = if self.rows > 1 { &self.before } else { &self.last };
        sharpen(self.amount, above, &self.last, &self.last, &mut self.line);
        sink(&self.line)
    }
}

/// One row; at the picture's edges the outermost pixel is repeated.
fn sharpen(amount: f32, above: &[u8], row: &[u8], below: &[u8], out: &mut [u8]) {
    let column = |i: usize| f32::from(above[i]) + 2.0 * f32::from(row[i]) + f32::from(below[i]);
    for i in 0..row.len() {
        let left = if i >= 3 { i - 3 } else { i };
        let right = if i + 3 < row.len() { i + 3 } else { i };
        let blurred = (column(left) + 2.0 * column(i) + column(right)) / 16.0;
        let value = f32::from(row[i]);
        out[i] = (value + amount * (value - blurred)).round().clamp(0.0, 255.0) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(rgb: &[u8]) -> [f64; 3] {
        std::array::from_fn(|c| rgb.iter().skip(c).step_by(3).map(|&v| f64::from(v)).sum::<f64>() / (rgb.len() / 3) as f64)
    }

    #[test]
    fn a_colour_cast_is_taken_out_and_the_brightness_kept() {
        let mut rgb: Vec<u8> = (0..3000u32).map(|i| [140, 110, 80][i as usize % 3] + (i / 3 % 40) as u8).collect();
        let before = luma(means(&rgb));
        white_balance(&mut rgb);
        let after = means(&rgb);
        assert!(after.iter().all(|m| (m - after[1]).abs() < 1.0), "{after:?}");
        assert!((luma(after) - before).abs() < 1.5);
    }

    #[test]
    fn a_flat_dark_picture_is_stretched_but_not_beyond_measure() {
        let mut rgb: Vec<u8> = (0..3600u32).map(|i| 20 + (i / 3 % 120) as u8).collect();
        exposure(&mut rgb);
        let (low, high) = (*rgb.iter().min().unwrap(), *rgb.iter().max().unwrap());
        assert!(low <= 3 && high >= 252, "{low}..{high}");

        let mut pale: Vec<u8> = (0..3000u32).map(|i| 120 + (i / 3 % 10) as u8).collect();
        exposure(&mut pale);
        assert!(pale.iter().max().unwrap() - pale.iter().min().unwrap() <= 30);
    }

    #[test]
    fn one_colour_stays_one_colour() {
        for value in [0, 128, 255] {
            let mut rgb = vec![value; 300];
            exposure(&mut rgb);
            white_balance(&mut rgb);
            assert!(rgb.iter().all(|&v| v == rgb[0]));
        }
        let empty: &mut [u8] = &mut [];
        exposure(empty);
        white_balance(empty);
    }

    fn sharpened(amount: f32, rows: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut sharpener = Sharpener::new(amount, rows[0].len());
        for row in rows {
            sharpener
                .push(row, |row| {
                    out.push(row.to_vec());
                    Ok(())
                })
                .unwrap();
        }
        sharpener
            .finish(|row| {
                out.push(row.to_vec());
                Ok(())
            })
            .unwrap();
        out
    }

    #[test]
    fn sharpening_gives_every_row_once_and_steepens_edges_only() {
        let rows: Vec<Vec<u8>> = (0..6).map(|_| [vec![100; 12], vec![150; 12]].concat()).collect();
        assert_eq!(sharpened(0.0, &rows), rows);
        let sharp = sharpened(1.0, &rows);
        assert_eq!(sharp.len(), 6);
        for row in &sharp {
            assert_eq!((row[0], row[23]), (100, 150));
            assert!(row[11] < 100 && row[12] > 150);
        }
        assert_eq!(sharpened(1.0, &rows[..1]).len(), 1);
    }
}
