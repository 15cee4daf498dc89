//! Small pictures for tests, made here.

/// A PNG with a smooth pattern and some edges.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let edge = if (x / 8 + y / 8) % 2 == 0 { 40 } else { 0 };
            pixels.extend([(x * 200 / width) as u8 + edge, (y * 200 / height) as u8 + edge, 120]);
        }
    }
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).expect("a PNG in memory");
    out
}

/// Width and height of a PNG.
pub fn size(png: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}
