//! Files that other programs wrote (worker/tests/data, 40 × 24 pixels, by Pillow): what inspects them and what decodes them agree.

use kiln_core::media;
use kiln_worker::image_io::{self, Picture};

fn file(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What was drawn at (x, y).
fn drawn(x: usize, y: usize) -> [i32; 3] {
    [60 + x as i32 * 4, 40 + y as i32 * 6, 200 - x as i32 - y as i32]
}

fn mean_difference(picture: &Picture, drawn: impl Fn(usize, usize) -> [i32; 3]) -> f64 {
    assert_eq!((picture.width, picture.height), (40, 24));
    let pixels = picture.rgb.as_chunks::<3>().0.iter().enumerate();
    let sum: i32 = pixels
        .map(|(i, p)| {
            let wanted = drawn(i % 40, i / 40);
            (0..3).map(|c| (i32::from(p[c]) - wanted[c]).abs()).sum::<i32>()
        })
        .sum();
    f64::from(sum) / (40.0 * 24.0 * 3.0)
}

#[test]
fn forms_that_cameras_and_programs_write_are_decoded() {
    for name in ["progressive.jpg", "cmyk.jpg", "lossy.webp", "lossy-alpha.webp", "palette.png", "grey.jpg", "grey16.png"] {
        let bytes = file(name);
        let facts = media::inspect(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((facts.width, facts.height), (40, 24), "{name}");
        let picture = image_io::decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let difference = match name {
            // Orientation 3: upside down.
            "lossy.webp" => mean_difference(&picture, |x, y| drawn(39 - x, 23 - y)),
            "grey16.png" => mean_difference(&picture, |x, y| [drawn(x, y)[0]; 3]),
            "grey.jpg" => mean_difference(&picture, |x, y| {
                let [r, g, b] = drawn(x, y);
                [(r * 299 + g * 587 + b * 114) / 1000; 3]
            }),
            _ => mean_difference(&picture, drawn),
        };
        let allowed = if name == "palette.png" { 12.0 } else { 5.0 };
        assert!(difference < allowed, "{name}: {difference}");
        assert_eq!(picture.alpha.is_some(), name == "lossy-alpha.webp", "{name}");
    }
}

#[test]
fn animations_are_refused_as_such() {
    for name in ["animated.png", "animated.webp"] {
        let error = media::inspect(&file(name)).unwrap_err();
        assert_eq!(error.code(), "media_animated", "{name}");
        assert!(image_io::decode(&file(name)).is_err());
    }
}

#[test]
fn every_prefix_is_refused_before_it_is_decoded() {
    for name in ["progressive.jpg", "lossy.webp", "palette.png"] {
        let bytes = file(name);
        for cut in 0..bytes.len() {
            assert!(media::inspect(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn a_colour_profile_is_converted_to_srgb() {
    use image::ImageEncoder;
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(profile).unwrap();
    encoder.write_image(&[200, 80, 60, 90, 90, 90], 2, 1, image::ExtendedColorType::Rgb8).unwrap();
    let rgb = image_io::decode(&bytes).unwrap().rgb;
    // The same colour has a stronger red in the narrower space, and grey stays grey.
    assert!(rgb[0] > 208 && rgb[1] < 78, "{rgb:?}");
    assert!(rgb[3..].iter().all(|v| v.abs_diff(90) <= 1), "{rgb:?}");
}
