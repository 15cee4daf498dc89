//! The walkers against files built by hand, bent in every way that the issue lists, and against noise.

use super::png::crc32;
use super::*;

fn png_chunk(out: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    out.extend((body.len() as u32).to_be_bytes());
    let start = out.len();
    out.extend(kind);
    out.extend(body);
    let crc = crc32(&out[start..]);
    out.extend(crc.to_be_bytes());
}

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(width.to_be_bytes());
    body.extend(height.to_be_bytes());
    body.extend([8, 2, 0, 0, 0]);
    body
}

fn png_with(width: u32, height: u32, extra: &[(&[u8; 4], Vec<u8>)], data: usize) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    png_chunk(&mut out, b"IHDR", &png_header(width, height));
    for (kind, body) in extra {
        png_chunk(&mut out, kind, body);
    }
    png_chunk(&mut out, b"IDAT", &vec![7; data]);
    png_chunk(&mut out, b"IEND", &[]);
    out
}

fn png(width: u32, height: u32) -> Vec<u8> {
    png_with(width, height, &[], (width * height) as usize)
}

fn tiff(little: bool, orientation: u16) -> Vec<u8> {
    let n16 = |v: u16| {
        if little { v.to_le_bytes() } else { v.to_be_bytes() }
    };
    let n32 = |v: u32| {
        if little { v.to_le_bytes() } else { v.to_be_bytes() }
    };
    let mut out = if little { b"II".to_vec() } else { b"MM".to_vec() };
    out.extend(n16(42));
    out.extend(n32(8));
    out.extend(n16(2));
    for (tag, value) in [(0x0100, 640), (0x0112, orientation)] {
        out.extend(n16(tag));
        out.extend(n16(3));
        out.extend(n32(1));
        out.extend(n16(value));
        out.extend([0, 0]);
    }
    out.extend(n32(0));
    out
}

fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

fn jpeg_frame(width: u16, height: u16) -> Vec<u8> {
    let mut body = vec![8];
    body.extend(height.to_be_bytes());
    body.extend(width.to_be_bytes());
    body.extend([3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    body
}

fn jpeg_with(width: u16, height: u16, sof: u8, exif: Option<Vec<u8>>, scan: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    if let Some(tiff) = exif {
        segment(&mut out, 0xe1, &[b"Exif\0\0".to_vec(), tiff].concat());
    }
    segment(&mut out, sof, &jpeg_frame(width, height));
    segment(&mut out, 0xda, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    out.extend(scan);
    out.extend([0xff, 0xd9]);
    out
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut scan = vec![0x5a; width as usize * height as usize / 64 + 8];
    scan.extend([0xff, 0x00, 0x11, 0xff, 0xd0, 0x22]); // a stuffed zero and a restart inside the scan
    jpeg_with(width, height, 0xc0, None, &scan)
}

fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend(*kind);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
        if data.len() % 2 == 1 {
            body.push(0);
        }
    }
    [b"RIFF".to_vec(), (body.len() as u32).to_le_bytes().to_vec(), body].concat()
}

fn vp8(width: u16, height: u16) -> Vec<u8> {
    let mut out = vec![0x10 | (40 << 5) as u8, 1, 0, 0x9d, 0x01, 0x2a];
    out.extend(width.to_le_bytes());
    out.extend(height.to_le_bytes());
    out.extend([0x33; 64]);
    out
}

fn vp8l(width: u32, height: u32) -> Vec<u8> {
    let mut out = vec![0x2f];
    out.extend(((width - 1) | (height - 1) << 14).to_le_bytes());
    out.extend([0x44; 33]);
    out
}

fn vp8x(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let mut out = vec![flags, 0, 0, 0];
    out.extend(&(width - 1).to_le_bytes()[..3]);
    out.extend(&(height - 1).to_le_bytes()[..3]);
    out
}

fn facts(content_type: ImageType, width: u32, height: u32, orientation: u8) -> MediaFacts {
    MediaFacts { content_type, width, height, orientation, animated: false }
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        png(20, 10),
        png_with(20, 10, &[(b"eXIf", tiff(true, 6))], 300),
        jpeg(40, 24),
        jpeg_with(40, 24, 0xc2, Some(tiff(false, 8)), &[1, 2, 3]),
        riff(&[(b"VP8 ", vp8(30, 50))]),
        riff(&[(b"VP8X", vp8x(8, 30, 50)), (b"VP8L", vp8l(30, 50)), (b"EXIF", tiff(true, 3))]),
    ]
}

#[test]
fn the_three_formats_tell_their_size() {
    assert_eq!(inspect(&png(20, 10)), Ok(facts(ImageType::Png, 20, 10, 1)));
    assert_eq!(inspect(&jpeg(40, 24)), Ok(facts(ImageType::Jpeg, 40, 24, 1)));
    let lossy = riff(&[(b"VP8 ", vp8(30, 50))]);
    assert_eq!(inspect(&lossy), Ok(facts(ImageType::Webp, 30, 50, 1)));
    let lossless = riff(&[(b"VP8X", vp8x(0, 300, 5)), (b"VP8L", vp8l(300, 5))]);
    assert_eq!(inspect(&lossless), Ok(facts(ImageType::Webp, 300, 5, 1)));
}

#[test]
fn every_orientation_is_read_in_both_byte_orders_and_all_formats() {
    for value in 0..=9u16 {
        let expected = if (1..=8).contains(&value) { value as u8 } else { 1 };
        for little in [true, false] {
            let exif = tiff(little, value);
            let files = [
                png_with(20, 10, &[(b"eXIf", exif.clone())], 300),
                jpeg_with(20, 10, 0xc0, Some(exif.clone()), &[1; 64]),
                riff(&[(b"VP8X", vp8x(8, 20, 10)), (b"VP8 ", vp8(20, 10)), (b"EXIF", exif)]),
            ];
            for file in files {
                let facts = inspect(&file).unwrap();
                assert_eq!(facts.orientation, expected);
                let lies = expected >= 5;
                assert_eq!(facts.shown_size(), if lies { (10, 20) } else { (20, 10) });
            }
        }
    }
}

#[test]
fn every_proper_prefix_of_a_file_is_refused() {
    for file in samples() {
        assert!(inspect(&file).is_ok());
        for cut in 0..file.len() {
            let error = inspect(&file[..cut]).expect_err("a prefix passed");
            // Once the type is known, the word is "truncated".
            if cut > 12 {
                assert_eq!(error.code(), "media_truncated", "cut at {cut}: {error}");
            }
        }
    }
}

#[test]
fn what_follows_the_end_of_a_picture_is_ignored() {
    for mut file in samples() {
        let before = inspect(&file);
        file.extend(b"a phone's film");
        assert_eq!(inspect(&file), before);
    }
}

#[test]
fn other_types_are_refused_by_name() {
    for (bytes, word) in [
        (&b"GIF89a\x01\x00\x01\x00"[..], "GIF"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='x'>", "markup"),
        (b"\0\0\0\x20ftypheic....", "HEIC"),
        (b"\0\0\0\x20ftypavif....", "AVIF"),
        (b"\0\0\0\x20ftypisom....", "video"),
        (b"hello", "no known"),
        (b"\xff\xd8", "no known"),
    ] {
        let error = inspect(bytes).unwrap_err();
        assert_eq!(error.code(), "media_unsupported");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(inspect(b""), Err(MediaError::Empty));
}

#[test]
fn the_limits_hold_to_the_pixel_and_the_byte() {
    assert!(inspect(&png_with(4096, 4096, &[], 70_000)).is_ok());
    for (w, h) in [(4097, 1), (1, 4097), (40_000, 40_000)] {
        let error = inspect(&png_with(w, h, &[], 200_000)).unwrap_err();
        assert_eq!(error.code(), "media_too_many_pixels");
    }
    assert_eq!(inspect(&jpeg(4097, 8)).unwrap_err().code(), "media_too_many_pixels");
    let wide = riff(&[(b"VP8L", vp8l(4097, 1))]);
    assert_eq!(inspect(&wide).unwrap_err().code(), "media_too_many_pixels");

    let mut large = png(20, 10);
    large.resize(LIMITS.max_bytes, 0);
    assert!(inspect(&large).is_ok());
    large.push(0);
    assert_eq!(inspect(&large).unwrap_err().code(), "media_too_large");
}

#[test]
fn animated_pictures_are_refused() {
    let apng = png_with(20, 10, &[(b"acTL", vec![0, 0, 0, 2, 0, 0, 0, 0])], 300);
    assert_eq!(inspect(&apng), Err(MediaError::Animated(ImageType::Png)));
    for chunks in [vec![(b"VP8X", vp8x(2, 20, 10)), (b"ANIM", vec![0; 6])], vec![(b"VP8 ", vp8(20, 10)), (b"ANMF", vec![0; 16])]] {
        assert_eq!(inspect(&riff(&chunks)), Err(MediaError::Animated(ImageType::Webp)));
    }
}

#[test]
fn data_too_short_for_its_pixels_is_truncated() {
    // 200 × 200 × 3 bytes can't come out of 100 deflated ones; 10,000 blocks not out of 100 bytes of Huffman codes.
    assert_eq!(inspect(&png_with(200, 200, &[], 100)), Err(MediaError::Truncated(ImageType::Png)));
    assert_eq!(inspect(&jpeg_with(800, 800, 0xc0, None, &[1; 100])), Err(MediaError::Truncated(ImageType::Jpeg)));
}

#[test]
fn a_wrong_checksum_order_or_form_is_corrupt() {
    let mut flipped = png(20, 10);
    flipped[100] ^= 1;
    assert_eq!(inspect(&flipped).unwrap_err().code(), "media_corrupt");
    let unknown = png_with(20, 10, &[(b"EViL", vec![])], 300);
    assert_eq!(inspect(&unknown).unwrap_err().code(), "media_corrupt");
    assert_eq!(inspect(&png_with(0, 10, &[], 9)).unwrap_err().code(), "media_corrupt");
    let arithmetic = jpeg_with(40, 24, 0xc9, None, &[1; 64]);
    assert_eq!(inspect(&arithmetic).unwrap_err().code(), "media_unsupported");
    let mismatch = riff(&[(b"VP8X", vp8x(0, 30, 5)), (b"VP8L", vp8l(300, 5))]);
    assert_eq!(inspect(&mismatch).unwrap_err().code(), "media_corrupt");
    let mut many_scans = jpeg(40, 24);
    many_scans.truncate(many_scans.len() - 2);
    for _ in 0..100 {
        segment(&mut many_scans, 0xda, &[1, 1, 0, 0, 63, 0]);
    }
    many_scans.extend([0xff, 0xd9]);
    assert_eq!(inspect(&many_scans).unwrap_err().code(), "media_unsupported");
}

#[test]
fn the_checksum_is_the_standard_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let bytes: Vec<u8> = (0..1000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let bitwise = |bytes: &[u8]| {
        let mut crc = !0u32;
        for &b in bytes {
            crc ^= u32::from(b);
            for _ in 0..8 {
                crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    };
    for length in [0, 1, 7, 8, 9, 63, 1000] {
        assert_eq!(crc32(&bytes[..length]), bitwise(&bytes[..length]));
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough chance for a test, and the same on every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn it_never_panics_and_what_it_accepts_is_within_the_limits() {
    let samples = samples();
    let mut chance = Chance(2);
    let mut accepted = 0;
    for round in 0..200_000 {
        let mut file = if round % 10 == 0 {
            // Noise behind a good signature.
            let signature = &samples[chance.below(samples.len())][..12];
            let mut noise = signature.to_vec();
            noise.extend((0..chance.below(200)).map(|_| chance.0 as u8));
            noise
        } else {
            samples[chance.below(samples.len())].clone()
        };
        for _ in 0..=chance.below(4) {
            let at = chance.below(file.len());
            match chance.below(4) {
                0 => file[at] = chance.next() as u8,
                1 => file[at] = [0, 0xff, 0x7f, 0x80][chance.below(4)],
                2 => file.truncate(at.max(1)),
                _ => {
                    let byte = file[at];
                    file.insert(at, byte);
                }
            }
        }
        if let Ok(facts) = inspect(&file) {
            accepted += 1;
            assert!((1..=LIMITS.max_side).contains(&facts.width));
            assert!((1..=LIMITS.max_side).contains(&facts.height));
            assert!((1..=8).contains(&facts.orientation) && !facts.animated);
        }
    }
    assert!(accepted > 1000, "the test no longer reaches the accepting paths");
}
