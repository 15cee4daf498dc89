//! Pictures in and out: bytes that `kiln_core::media` has accepted become upright sRGB pixels, and rows of pixels a PNG.
//!
//! Nothing of a picture's metadata goes through: the orientation is applied, a colour profile is converted to sRGB, all else
//! is dropped. Every decoder runs under the limits of `media::LIMITS`, so it allocates for 4096 × 4096 pixels at most.

mod decode;
mod png_rows;

pub use decode::{DecodeError, decode};
pub use png_rows::PngRows;

/// An upright picture, sRGB.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// Rows of R, G, B.
    pub rgb: Vec<u8>,
    /// One byte a pixel; `None` where every pixel is opaque.
    pub alpha: Option<Vec<u8>>,
}
