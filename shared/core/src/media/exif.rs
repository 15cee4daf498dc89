//! The orientation out of an EXIF block (a TIFF header and its first directory). Nothing else of it is ever looked at.

use super::{be16, be32, le16, le32};

const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// The orientation, 1..=8, of a TIFF block; `None` where it is absent or the block is damaged (damaged metadata
/// does not make the picture unusable, so it is no error).
pub fn orientation(tiff: &[u8]) -> Option<u8> {
    let little = match tiff.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let u16_at = |at| {
        if little { le16(tiff, at) } else { be16(tiff, at) }
    };
    let u32_at = |at| {
        if little { le32(tiff, at) } else { be32(tiff, at) }
    };
    let directory = u32_at(4)? as usize;
    let entries = u16_at(directory)?;
    for entry in 0..entries as usize {
        let at = directory.checked_add(2 + 12 * entry)?;
        if u16_at(at)? != ORIENTATION {
            continue;
        }
        if u16_at(at.checked_add(2)?)? != SHORT || u32_at(at.checked_add(4)?)? != 1 {
            return None;
        }
        let value = u16_at(at.checked_add(8)?)?;
        return (1..=8).contains(&value).then_some(value as u8);
    }
    None
}
