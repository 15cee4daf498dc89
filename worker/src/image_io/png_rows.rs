//! A PNG that is written row by row, with the photo's transparency enlarged beside the colours.

use super::Picture;
use png::{BitDepth, ColorType, Compression, Encoder, SrgbRenderingIntent, StreamWriter};
use std::io::{self, Write};

/// Takes the rows of the enlarged colours in order, and gives the file.
pub struct PngRows<'a> {
    writer: StreamWriter<'static, Bytes>,
    file: Shared,
    alpha: Option<&'a [u8]>,
    /// Of the photo, before it is enlarged.
    width: usize,
    height: usize,
    scale: usize,
    next: usize,
    line: Vec<u8>,
}

/// The encoder owns its sink to the end and doesn't give it back, so the bytes are shared with it.
type Shared = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

struct Bytes(Shared);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(|p| p.into_inner()).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> PngRows<'a> {
    /// For `picture` enlarged `scale` times: RGBA if it has transparency, RGB otherwise.
    pub fn new(picture: &'a Picture, scale: usize) -> io::Result<PngRows<'a>> {
        let file = Shared::default();
        let mut encoder = Encoder::new(Bytes(file.clone()), (picture.width * scale) as u32, (picture.height * scale) as u32);
        let alpha = picture.alpha.as_deref();
        encoder.set_color(if alpha.is_some() { ColorType::Rgba } else { ColorType::Rgb });
        encoder.set_depth(BitDepth::Eight);
        // A result is downloaded once or twice: seconds of a rented machine are dearer than the bytes that they would save.
        encoder.set_compression(Compression::Fast);
        encoder.set_source_srgb(SrgbRenderingIntent::Perceptual);
        let writer = encoder.write_header()?.into_stream_writer_with_size(1 << 18)?;
        Ok(PngRows { writer, file, alpha, width: picture.width, height: picture.height, scale, next: 0, line: Vec::new() })
    }

    /// The next row of R, G, B.
    pub fn push(&mut self, rgb: &[u8]) -> io::Result<()> {
        let row = self.next;
        self.next += 1;
        let Some(alpha) = self.alpha else {
            return self.writer.write_all(rgb);
        };
        let (above, below, down) = between(row, self.scale, self.height);
        self.line.clear();
        for (x, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let (left, right, across) = between(x, self.scale, self.width);
            let at = |x: usize, y: usize| f32::from(alpha[y * self.width + x]);
            let top = at(left, above) + (at(right, above) - at(left, above)) * across;
            let bottom = at(left, below) + (at(right, below) - at(left, below)) * across;
            self.line.extend_from_slice(pixel);
            self.line.push((top + (bottom - top) * down).round() as u8);
        }
        self.writer.write_all(&self.line)
    }

    /// The file; an error if a row is missing.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.writer.finish()?;
        Ok(std::mem::take(&mut *self.file.lock().unwrap_or_else(|p| p.into_inner())))
    }
}

/// Linear interpolation between pixel centres: the two places that output `out` lies between, and how near the second it is.
fn between(out: usize, scale: usize, length: usize) -> (usize, usize, f32) {
    let centre = ((out as f32 + 0.5) / scale as f32 - 0.5).clamp(0.0, (length - 1) as f32);
    let first = centre as usize;
    (first, (first + 1).min(length - 1), centre - first as f32)
}
