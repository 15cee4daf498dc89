//! From a file's bytes to an upright sRGB [`Picture`].

use super::Picture;
use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Limits};
use kiln_core::media::{self, ImageType, LIMITS, MediaError};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};
use std::io::Cursor;

/// The most that a decoder may allocate: 4096 × 4096 pixels of four 16-bit samples, twice over for its own tables and rows.
const MAX_ALLOC: u64 = 2 * 4096 * 4096 * 8;

/// Why a file gave no picture. No machine will decode it, so the job fails for good.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Refused(#[from] MediaError),
    #[error("the {0} can't be decoded: {1}")]
    Undecodable(ImageType, image::ImageError),
}

impl DecodeError {
    /// A stable word for the job's error.
    pub fn code(&self) -> &'static str {
        match self {
            DecodeError::Refused(error) => error.code(),
            DecodeError::Undecodable(..) => "media_corrupt",
        }
    }
}

/// The picture of a file, upright and in sRGB.
pub fn decode(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let facts = media::inspect(bytes)?;
    let reader = Cursor::new(bytes);
    let decoded = match facts.content_type {
        ImageType::Jpeg => JpegDecoder::new(reader).and_then(pixels),
        ImageType::Png => PngDecoder::with_limits(reader, limits()).and_then(pixels),
        ImageType::Webp => WebPDecoder::new(reader).and_then(pixels),
    };
    let (mut image, profile) = decoded.map_err(|error| DecodeError::Undecodable(facts.content_type, error))?;
    if let Some(orientation) = Orientation::from_exif(facts.orientation) {
        image.apply_orientation(orientation);
    }
    let (width, height) = (image.width() as usize, image.height() as usize);
    let alpha = image.color().has_alpha().then(|| image.to_rgba8().pixels().map(|p| p.0[3]).collect::<Vec<u8>>());
    let grey = !image.color().has_color();
    let mut rgb = image.into_rgb8().into_raw();
    if let Some(profile) = profile {
        to_srgb(&mut rgb, &profile, grey);
    }
    Ok(Picture { width, height, rgb, alpha: alpha.filter(|a| a.iter().any(|&v| v != 255)) })
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LIMITS.max_side);
    limits.max_image_height = Some(LIMITS.max_side);
    limits.max_alloc = Some(MAX_ALLOC);
    limits
}

fn pixels<D: ImageDecoder>(mut decoder: D) -> image::ImageResult<(DynamicImage, Option<Vec<u8>>)> {
    decoder.set_limits(limits())?;
    // A profile that can't be read is no reason to refuse the picture.
    let profile = decoder.icc_profile().unwrap_or(None);
    Ok((DynamicImage::from_decoder(decoder)?, profile))
}

/// Converts from the profile's colours (a phone's Display P3, say). A profile that is damaged or not of RGB is left aside, as
/// if the picture had none: its pixels are then taken for sRGB.
fn to_srgb(rgb: &mut Vec<u8>, profile: &[u8], grey: bool) {
    if grey {
        return;
    }
    let Ok(profile) = ColorProfile::new_from_slice(profile) else {
        return;
    };
    if profile.color_space != DataColorSpace::Rgb {
        return;
    }
    let srgb = ColorProfile::new_srgb();
    let Ok(transform) = profile.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, TransformOptions::default()) else {
        return;
    };
    let mut converted = vec![0; rgb.len()];
    if transform.transform(rgb, &mut converted).is_ok() {
        *rgb = converted;
    }
}
