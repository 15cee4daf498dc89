//! What an uploaded file is, by its bytes: the type, the size in pixels, the orientation, and whether it can be the input of a job.
//!
//! Pure and cheap: it walks the file's own structure (JPEG markers, PNG chunks with their CRCs, RIFF chunks), never decodes a
//! pixel and allocates nothing, so that a decompression bomb costs no more than its bytes. It never panics, whatever the bytes.
//! `uploads` refuses by it at the door; the worker asks it again before it lets a decoder allocate.

use serde::{Deserialize, Serialize};

mod exif;
mod jpeg;
mod png;
mod webp;

#[cfg(test)]
mod tests;

/// What an input picture may be at most: 10 MB of file, 4096 pixels on each side.
pub const LIMITS: MediaLimits = MediaLimits { max_bytes: 10_000_000, max_side: 4096 };

/// The bounds that [`MediaFacts::check`] applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// Length of the file, in bytes.
    pub max_bytes: usize,
    /// Width and height, in pixels, each.
    pub max_side: u32,
}

/// The picture formats that a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ImageType {
    #[serde(rename = "image/jpeg")]
    Jpeg,
    #[serde(rename = "image/png")]
    Png,
    #[serde(rename = "image/webp")]
    Webp,
}

impl ImageType {
    /// The media type as it stands in a `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ImageType::Jpeg => "image/jpeg",
            ImageType::Png => "image/png",
            ImageType::Webp => "image/webp",
        }
    }

    /// The inverse of [`ImageType::as_str`]; parameters and letter case are not forgiven.
    pub fn parse(content_type: &str) -> Option<ImageType> {
        [ImageType::Jpeg, ImageType::Png, ImageType::Webp].into_iter().find(|t| t.as_str() == content_type)
    }
}

impl std::fmt::Display for ImageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the bytes of a picture say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFacts {
    pub content_type: ImageType,
    /// Pixels as stored, before the orientation is applied (see [`MediaFacts::shown_size`]).
    pub width: u32,
    pub height: u32,
    /// EXIF orientation, 1..=8; 1 (upright) where the file has none or a senseless one.
    pub orientation: u8,
    /// More than one frame (APNG, animated WebP).
    pub animated: bool,
}

impl MediaFacts {
    /// Width and height as a viewer shows the picture: orientations 5 to 8 lie on their side.
    pub const fn shown_size(&self) -> (u32, u32) {
        if self.orientation >= 5 { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Whether a job may take it: one frame, and no side longer than the limit.
    pub fn check(&self, limits: &MediaLimits) -> Result<(), MediaError> {
        if self.width > limits.max_side || self.height > limits.max_side {
            return Err(MediaError::TooManyPixels { width: self.width, height: self.height, max_side: limits.max_side });
        }
        if self.animated {
            return Err(MediaError::Animated(self.content_type));
        }
        Ok(())
    }
}

/// Why a file is not a picture that a job can take. The texts are for the person who uploaded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("the file is empty")]
    Empty,
    #[error("the file has {bytes} bytes; at most {limit} are taken")]
    TooManyBytes { bytes: usize, limit: usize },
    #[error("the file is {found}; JPEG, PNG and WebP are taken")]
    UnsupportedType { found: &'static str },
    #[error("this form of {content_type} is not taken: {why}")]
    UnsupportedForm { content_type: ImageType, why: &'static str },
    #[error("the {0} is animated; one still picture is taken")]
    Animated(ImageType),
    #[error("the picture is cut off: its {0} file ends too soon")]
    Truncated(ImageType),
    #[error("the {content_type} is damaged: {why}")]
    Corrupt { content_type: ImageType, why: &'static str },
    #[error("the picture is {width} × {height} pixels; at most {max_side} on each side are taken")]
    TooManyPixels { width: u32, height: u32, max_side: u32 },
}

impl MediaError {
    /// A stable word for the API's problem document.
    pub const fn code(&self) -> &'static str {
        match self {
            MediaError::Empty => "media_empty",
            MediaError::TooManyBytes { .. } => "media_too_large",
            MediaError::UnsupportedType { .. } | MediaError::UnsupportedForm { .. } => "media_unsupported",
            MediaError::Animated(_) => "media_animated",
            MediaError::Truncated(_) => "media_truncated",
            MediaError::Corrupt { .. } => "media_corrupt",
            MediaError::TooManyPixels { .. } => "media_too_many_pixels",
        }
    }
}

/// The facts of a picture that a job may take by [`LIMITS`], or why it may not.
pub fn inspect(bytes: &[u8]) -> Result<MediaFacts, MediaError> {
    inspect_within(bytes, &LIMITS)
}

/// [`inspect`] with limits of the caller's.
pub fn inspect_within(bytes: &[u8], limits: &MediaLimits) -> Result<MediaFacts, MediaError> {
    if bytes.len() > limits.max_bytes {
        return Err(MediaError::TooManyBytes { bytes: bytes.len(), limit: limits.max_bytes });
    }
    let facts = match sniff(bytes)? {
        ImageType::Jpeg => jpeg::probe(bytes, limits)?,
        ImageType::Png => png::probe(bytes, limits)?,
        ImageType::Webp => webp::probe(bytes, limits)?,
    };
    facts.check(limits)?;
    Ok(facts)
}

/// The type by the first bytes alone; what is known but not taken is named in the error.
pub fn sniff(bytes: &[u8]) -> Result<ImageType, MediaError> {
    let found = match bytes {
        [] => return Err(MediaError::Empty),
        [0xff, 0xd8, 0xff, ..] => return Ok(ImageType::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => return Ok(ImageType::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            return Ok(ImageType::Webp);
        }
        [b'G', b'I', b'F', b'8', ..] => "a GIF",
        [b'B', b'M', ..] => "a BMP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF or a camera's raw file",
        [0x00, 0x00, 0x01, 0x00, ..] => "an ICO",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [b'P', b'K', 3, 4, ..] => "a ZIP",
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "a JPEG XL",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => "an AVIF",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..] | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', ..] => "an HEIC",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a video",
        [b'<', ..] => "markup (SVG, HTML or XML)",
        _ => "of no known picture type",
    };
    Err(MediaError::UnsupportedType { found })
}

/// Big-endian and little-endian reads that answer `None` past the end.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// An early word on the size, before the rest of the file is walked.
fn check_size(content_type: ImageType, width: u32, height: u32, limits: &MediaLimits) -> Result<(), MediaError> {
    if width == 0 || height == 0 {
        return Err(MediaError::Corrupt { content_type, why: "it has no pixels" });
    }
    MediaFacts { content_type, width, height, orientation: 1, animated: false }.check(limits)
}
