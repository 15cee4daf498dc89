//! A walk over a WebP's RIFF chunks (RFC 9649) to the end that its header names.

use super::{ImageType, MediaError, MediaFacts, MediaLimits, check_size, exif, le16, le32};

fn corrupt(why: &'static str) -> MediaError {
    MediaError::Corrupt { content_type: ImageType::Webp, why }
}

const TRUNCATED: MediaError = MediaError::Truncated(ImageType::Webp);
const ANIMATION: u8 = 0x02;

pub fn probe(bytes: &[u8], limits: &MediaLimits) -> Result<MediaFacts, MediaError> {
    let riff = le32(bytes, 4).ok_or(TRUNCATED)? as usize;
    // `riff` counts from the word WEBP on; an odd length is padded.
    let file = bytes.get(..riff.saturating_add(8)).ok_or(TRUNCATED)?;
    let mut at = 12;
    let mut canvas = None;
    let mut picture = None;
    let mut orientation = None;
    let mut animated = false;
    let mut first = true;

    while at < file.len() {
        let kind = file.get(at..at + 4).ok_or(TRUNCATED)?;
        let length = le32(file, at + 4).ok_or(TRUNCATED)? as usize;
        let start = at + 8;
        let body = file.get(start..start.saturating_add(length)).ok_or(TRUNCATED)?;
        at = start + length + (length & 1);
        match kind {
            b"VP8X" => {
                if !first {
                    return Err(corrupt("its extended header is not the first chunk"));
                }
                let &[flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] = body else {
                    return Err(corrupt("its extended header is short"));
                };
                animated |= flags & ANIMATION != 0;
                let size = (1 + u32::from_le_bytes([w0, w1, w2, 0]), 1 + u32::from_le_bytes([h0, h1, h2, 0]));
                check_size(ImageType::Webp, size.0, size.1, limits)?;
                canvas = Some(size);
            }
            b"VP8 " | b"VP8L" => {
                if picture.is_some() {
                    return Err(corrupt("it has two pictures"));
                }
                let size = if kind == b"VP8 " { lossy_size(body)? } else { lossless_size(body)? };
                check_size(ImageType::Webp, size.0, size.1, limits)?;
                picture = Some(size);
            }
            b"ANIM" | b"ANMF" => animated = true,
            b"EXIF" if orientation.is_none() => {
                // Some writers carry JPEG's prefix over.
                orientation = exif::orientation(body.strip_prefix(b"Exif\0\0").unwrap_or(body));
            }
            _ => {}
        }
        first = false;
    }

    if animated {
        return Err(MediaError::Animated(ImageType::Webp));
    }
    let (width, height) = picture.ok_or(TRUNCATED)?;
    if canvas.is_some_and(|c| c != (width, height)) {
        return Err(corrupt("its header and its picture differ in size"));
    }
    Ok(MediaFacts { content_type: ImageType::Webp, width, height, orientation: orientation.unwrap_or(1), animated })
}

/// VP8's frame header (RFC 6386, section 9.1).
fn lossy_size(body: &[u8]) -> Result<(u32, u32), MediaError> {
    let &[t0, t1, t2, s0, s1, s2, ..] = body else {
        return Err(TRUNCATED);
    };
    let tag = u32::from_le_bytes([t0, t1, t2, 0]);
    if tag & 1 != 0 || [s0, s1, s2] != [0x9d, 0x01, 0x2a] {
        return Err(corrupt("its picture does not start with a key frame"));
    }
    let width = u32::from(le16(body, 6).ok_or(TRUNCATED)?) & 0x3fff;
    let height = u32::from(le16(body, 8).ok_or(TRUNCATED)?) & 0x3fff;
    let first_partition = (tag >> 5) as usize;
    if body.len() < 10 + first_partition {
        return Err(TRUNCATED);
    }
    Ok((width, height))
}

/// VP8L's header (RFC 9649, section 3.4).
fn lossless_size(body: &[u8]) -> Result<(u32, u32), MediaError> {
    if *body.first().ok_or(TRUNCATED)? != 0x2f {
        return Err(corrupt("its lossless picture has a wrong signature"));
    }
    let bits = le32(body, 1).ok_or(TRUNCATED)?;
    if bits >> 29 != 0 {
        return Err(corrupt("its lossless picture has an unknown version"));
    }
    Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
}
