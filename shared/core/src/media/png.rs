//! A walk over a PNG's chunks (W3C PNG, third edition, section 5), each CRC computed, from IHDR to IEND.

use super::{ImageType, MediaError, MediaFacts, MediaLimits, be32, check_size, exif};

fn corrupt(why: &'static str) -> MediaError {
    MediaError::Corrupt { content_type: ImageType::Png, why }
}

const TRUNCATED: MediaError = MediaError::Truncated(ImageType::Png);

/// Deflate makes at most 1032 bytes of one (a match of 258 bytes for 2 bits).
const DEFLATE_MAX_RATIO: u64 = 1032;

pub fn probe(bytes: &[u8], limits: &MediaLimits) -> Result<MediaFacts, MediaError> {
    let mut at = 8; // past the signature, which the caller has seen
    let mut header: Option<Header> = None;
    let mut orientation = None;
    let (mut palette, mut animated) = (false, false);
    let (mut data_bytes, mut data_ended) = (0u64, false);

    loop {
        let length = be32(bytes, at).ok_or(TRUNCATED)? as usize;
        if length > i32::MAX as usize {
            return Err(corrupt("a chunk's length is out of range"));
        }
        let checked = bytes.get(at + 4..at + 8 + length).ok_or(TRUNCATED)?;
        let (kind, body) = checked.split_at(4);
        if be32(bytes, at + 8 + length).ok_or(TRUNCATED)? != crc32(checked) {
            return Err(corrupt("a chunk's checksum does not match"));
        }
        at += 12 + length;

        if header.is_none() && kind != b"IHDR" {
            return Err(corrupt("it does not start with its header"));
        }
        if data_bytes > 0 && kind != b"IDAT" {
            data_ended = true;
        }
        match kind {
            b"IHDR" => {
                if header.is_some() {
                    return Err(corrupt("it has two headers"));
                }
                header = Some(read_header(body, limits)?);
            }
            b"PLTE" => palette = true,
            b"IDAT" => {
                if data_ended {
                    return Err(corrupt("its picture data is not in one run"));
                }
                data_bytes += length as u64;
            }
            b"acTL" | b"fcTL" | b"fdAT" => animated = true,
            b"eXIf" => orientation = exif::orientation(body),
            b"IEND" => break,
            // A capital first letter means: not to be shown by who does not know it.
            [first, ..] if first.is_ascii_uppercase() => {
                return Err(corrupt("it has an unknown critical chunk"));
            }
            _ => {}
        }
    }

    let header = header.ok_or_else(|| corrupt("it does not start with its header"))?;
    if header.needs_palette && !palette {
        return Err(corrupt("its palette is missing"));
    }
    if data_bytes == 0 || data_bytes * DEFLATE_MAX_RATIO < header.raw_bytes {
        return Err(TRUNCATED);
    }
    Ok(MediaFacts { content_type: ImageType::Png, width: header.width, height: header.height, orientation: orientation.unwrap_or(1), animated })
}

struct Header {
    width: u32,
    height: u32,
    needs_palette: bool,
    /// At least what the pixels take when inflated.
    raw_bytes: u64,
}

fn read_header(body: &[u8], limits: &MediaLimits) -> Result<Header, MediaError> {
    let &[w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, compression, filter, interlace] = body else {
        return Err(corrupt("its header has a wrong length"));
    };
    let width = u32::from_be_bytes([w0, w1, w2, w3]);
    let height = u32::from_be_bytes([h0, h1, h2, h3]);
    check_size(ImageType::Png, width, height, limits)?;
    let samples = match (colour, depth) {
        (0, 1 | 2 | 4 | 8 | 16) => 1,
        (2, 8 | 16) => 3,
        (3, 1 | 2 | 4 | 8) => 1,
        (4, 8 | 16) => 2,
        (6, 8 | 16) => 4,
        _ => return Err(corrupt("its colour type and bit depth do not go together")),
    };
    if compression != 0 || filter != 0 || interlace > 1 {
        return Err(corrupt("its compression, filter or interlace method is unknown"));
    }
    let bits = u64::from(width) * samples * u64::from(depth);
    Ok(Header { width, height, needs_palette: colour == 3, raw_bytes: bits.div_ceil(8) * u64::from(height) })
}

/// CRC-32 (ISO 3309, as PNG's annex D), eight bytes a step so that 10 MB take milliseconds.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    let mut words = bytes.chunks_exact(8);
    for w in &mut words {
        let low = crc ^ u32::from_le_bytes([w[0], w[1], w[2], w[3]]);
        crc = TABLES[7][(low & 0xff) as usize]
            ^ TABLES[6][(low >> 8 & 0xff) as usize]
            ^ TABLES[5][(low >> 16 & 0xff) as usize]
            ^ TABLES[4][(low >> 24) as usize]
            ^ TABLES[3][w[4] as usize]
            ^ TABLES[2][w[5] as usize]
            ^ TABLES[1][w[6] as usize]
            ^ TABLES[0][w[7] as usize];
    }
    for &b in words.remainder() {
        crc = crc >> 8 ^ TABLES[0][((crc ^ u32::from(b)) & 0xff) as usize];
    }
    !crc
}

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        t[0][i] = crc;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            t[k][i] = t[k - 1][i] >> 8 ^ t[0][(t[k - 1][i] & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}
