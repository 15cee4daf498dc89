//! How a side is cut into tiles: as few as the longest allowed length permits, and all about equally long.

use std::ops::Range;

/// Ranges that cover `0..length` in order, none longer than `longest`.
pub fn cut(length: usize, longest: usize) -> Vec<Range<usize>> {
    let count = length.div_ceil(longest.max(1));
    (0..count).map(|i| length * i / count..length * (i + 1) / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_side_once_and_are_about_equal() {
        for length in 1..600 {
            for longest in [1, 16, 100, 256] {
                let tiles = cut(length, longest);
                assert_eq!(tiles.first().unwrap().start, 0);
                assert_eq!(tiles.last().unwrap().end, length);
                assert!(tiles.windows(2).all(|pair| pair[0].end == pair[1].start));
                let (short, long) = (tiles.iter().map(Range::len).min().unwrap(), tiles.iter().map(Range::len).max().unwrap());
                assert!(short > 0 && long <= longest && long - short <= 1);
            }
        }
    }
}
