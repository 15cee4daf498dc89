//! A walk over a JPEG's markers (ITU-T T.81, annex B) from SOI to EOI.
//!
//! Whatever follows the EOI (a phone's second picture or film) is ignored: no decoder of ours reads it.

use super::{ImageType, MediaError, MediaFacts, MediaLimits, be16, check_size, exif};

/// A progressive file makes the decoder walk all blocks once per scan, so the number of scans is bounded. Encoders use 10 or so.
const MAX_SCANS: u32 = 100;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DNL: u8 = 0xdc;
const APP1: u8 = 0xe1;

fn corrupt(why: &'static str) -> MediaError {
    MediaError::Corrupt { content_type: ImageType::Jpeg, why }
}

fn unsupported(why: &'static str) -> MediaError {
    MediaError::UnsupportedForm { content_type: ImageType::Jpeg, why }
}

const TRUNCATED: MediaError = MediaError::Truncated(ImageType::Jpeg);

struct Frame {
    width: u32,
    height: u32,
    sequential: bool,
    /// 8 × 8 blocks of all components together.
    blocks: u64,
}

pub fn probe(bytes: &[u8], limits: &MediaLimits) -> Result<MediaFacts, MediaError> {
    let mut at = 2; // past SOI, which the caller has seen
    let mut frame: Option<Frame> = None;
    let mut orientation = None;
    let mut scans = 0;
    let mut entropy_bytes = 0u64;

    loop {
        let (marker, after) = next_marker(bytes, at)?;
        at = after;
        match marker {
            EOI => break,
            SOI => return Err(corrupt("a second picture starts inside the first")),
            0x01 | 0xd0..=0xd7 => continue, // TEM and RSTn carry no length
            _ => {}
        }
        let length = be16(bytes, at).ok_or(TRUNCATED)? as usize;
        if length < 2 {
            return Err(corrupt("a segment is shorter than its own length field"));
        }
        let body = bytes.get(at + 2..at + length).ok_or(TRUNCATED)?;
        at += length;
        match marker {
            0xc0..=0xc2 => {
                if frame.is_some() {
                    return Err(corrupt("it has two frame headers"));
                }
                frame = Some(read_frame(marker, body, limits)?);
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Err(unsupported("only baseline and progressive Huffman coding are"));
            }
            DNL => return Err(unsupported("its height is given after the picture")),
            APP1 if orientation.is_none() => {
                orientation = body.strip_prefix(b"Exif\0\0").and_then(exif::orientation);
            }
            SOS => {
                if frame.is_none() {
                    return Err(corrupt("a scan comes before the frame header"));
                }
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(unsupported("it has more than 100 scans"));
                }
                let end = scan_end(bytes, at).ok_or(TRUNCATED)?;
                entropy_bytes += (end - at) as u64;
                at = end;
            }
            _ => {}
        }
    }

    let frame = frame.ok_or_else(|| corrupt("it has no frame header"))?;
    if scans == 0 {
        return Err(corrupt("it has no scan"));
    }
    // A block takes a Huffman code for its DC and at least one for its AC part, a bit or more each.
    if frame.sequential && entropy_bytes * 8 < frame.blocks * 2 {
        return Err(TRUNCATED);
    }
    Ok(MediaFacts { content_type: ImageType::Jpeg, width: frame.width, height: frame.height, orientation: orientation.unwrap_or(1), animated: false })
}

/// The marker at `at` (fill bytes before it are skipped) and the place after it.
fn next_marker(bytes: &[u8], mut at: usize) -> Result<(u8, usize), MediaError> {
    if *bytes.get(at).ok_or(TRUNCATED)? != 0xff {
        return Err(corrupt("there is no marker where one must be"));
    }
    loop {
        at += 1;
        match *bytes.get(at).ok_or(TRUNCATED)? {
            0xff => {}
            0x00 => return Err(corrupt("there is no marker where one must be")),
            marker => return Ok((marker, at + 1)),
        }
    }
}

/// Where the entropy-coded data that starts at `at` ends: at the first marker that is neither a stuffed zero nor a restart.
fn scan_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    loop {
        let ff = from + bytes.get(from..)?.iter().position(|&b| b == 0xff)?;
        match *bytes.get(ff + 1)? {
            0x00 | 0xd0..=0xd7 => from = ff + 2,
            0xff => from = ff + 1,
            _ => return Some(ff),
        }
    }
}

fn read_frame(marker: u8, body: &[u8], limits: &MediaLimits) -> Result<Frame, MediaError> {
    let &[precision, h0, h1, w0, w1, components, ref rest @ ..] = body else {
        return Err(corrupt("its frame header is short"));
    };
    let height = u32::from(u16::from_be_bytes([h0, h1]));
    let width = u32::from(u16::from_be_bytes([w0, w1]));
    if precision != 8 {
        return Err(unsupported("only 8 bits a sample are"));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(unsupported("only grey, colour and CMYK are"));
    }
    check_size(ImageType::Jpeg, width, height, limits)?;

    let sampling = rest.get(..3 * components as usize).ok_or_else(|| corrupt("its frame header is short"))?;
    let factors = || sampling.chunks(3).map(|c| (u32::from(c[1] >> 4), u32::from(c[1] & 15)));
    if factors().any(|(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v)) {
        return Err(corrupt("a sampling factor is outside 1 to 4"));
    }
    let h_max = factors().map(|f| f.0).max().unwrap_or(1);
    let v_max = factors().map(|f| f.1).max().unwrap_or(1);
    let blocks = factors()
        .map(|(h, v)| {
            let w = (width * h).div_ceil(h_max).div_ceil(8);
            let h = (height * v).div_ceil(v_max).div_ceil(8);
            u64::from(w) * u64::from(h)
        })
        .sum();
    Ok(Frame { width, height, sequential: marker != 0xc2, blocks })
}
