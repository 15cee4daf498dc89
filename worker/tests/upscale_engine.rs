//! The whole engine: files in, a PNG out, through the real networks.

mod common;

use image::{DynamicImage, GenericImageView, ImageEncoder, RgbImage, RgbaImage};
use kiln_worker::engine::upscale::{Upscale, UpscaleSettings};
use kiln_worker::engine::{Context, Engine, EngineError, Input, Output};
use serde_json::json;
use std::io::Cursor;
use std::sync::Mutex;
use std::sync::OnceLock;

#[derive(Default)]
struct Recorder {
    progress: Mutex<Vec<(f32, String)>>,
    cancel_after: Option<usize>,
}

impl Context for Recorder {
    fn progress(&self, fraction: f32, stage: &str) {
        self.progress.lock().unwrap().push((fraction, stage.to_owned()));
    }
    fn cancelled(&self) -> bool {
        let tiles = self.progress.lock().unwrap().iter().filter(|p| p.1 == "network").count();
        self.cancel_after.is_some_and(|after| tiles >= after)
    }
}

fn with_tile(tile: usize) -> Upscale {
    Upscale::new(&UpscaleSettings { models_dir: common::models::dir(), tile, ..UpscaleSettings::default() }).unwrap_or_else(|error| panic!("{error}"))
}

fn engine() -> &'static Upscale {
    static ENGINE: OnceLock<Upscale> = OnceLock::new();
    ENGINE.get_or_init(|| with_tile(32))
}

fn run_on(engine: &Upscale, params: serde_json::Value, bytes: Vec<u8>, context: &Recorder) -> Result<Vec<Output>, EngineError> {
    let input = Input { content_type: "image/png".into(), bytes };
    engine.run("upscale", &params, &[input], context)
}

fn run(params: serde_json::Value, bytes: Vec<u8>) -> Result<DynamicImage, EngineError> {
    let outputs = run_on(engine(), params, bytes, &Recorder::default())?;
    assert_eq!(outputs.len(), 1);
    assert_eq!((outputs[0].name.as_str(), outputs[0].content_type), ("result.png", "image/png"));
    kiln_core::media::inspect_within(&outputs[0].bytes, &kiln_core::media::MediaLimits { max_bytes: usize::MAX, max_side: 65_535 }).unwrap();
    Ok(image::load_from_memory_with_format(&outputs[0].bytes, image::ImageFormat::Png).unwrap())
}

/// Smooth colours with a hard edge.
fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let edge = if x > width / 2 && y > height / 3 { 90 } else { 0 };
        image::Rgb([(60 + x * 2 + edge) as u8, (40 + y * 2 + edge) as u8, (200 - x - y) as u8])
    })
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

/// Mean absolute difference from the photo enlarged by repetition: a network's result is near it, a wrong one is not.
fn distance(result: &DynamicImage, photo: &RgbImage, scale: u32) -> f64 {
    let result = result.to_rgb8();
    assert_eq!(result.dimensions(), (photo.width() * scale, photo.height() * scale));
    let sum: f64 = result
        .enumerate_pixels()
        .flat_map(|(x, y, p)| (0..3).map(move |c| (f64::from(p[c]) - f64::from(photo.get_pixel(x / scale, y / scale)[c])).abs()))
        .sum();
    sum / f64::from(result.width() * result.height() * 3)
}

#[test]
fn every_format_and_factor_gives_an_enlarged_png() {
    let photo = photo(50, 37);
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&photo).unwrap();
    let mut webp = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut webp).write_image(photo.as_raw(), 50, 37, image::ExtendedColorType::Rgb8).unwrap();
    for file in [png(photo.clone()), jpeg, webp] {
        for scale in 2..=4 {
            let result = run(json!({"scale": scale}), file.clone()).unwrap();
            let distance = distance(&result, &photo, scale);
            assert!(distance < 6.0, "x{scale}: {distance}");
        }
    }
}

#[test]
fn the_tile_does_not_show() {
    let file = png(photo(70, 45));
    let of = |tile| {
        let outputs = run_on(&with_tile(tile), json!({"scale": 2}), file.clone(), &Recorder::default()).unwrap();
        image::load_from_memory(&outputs[0].bytes).unwrap().to_rgb8()
    };
    let whole = of(4096);
    for tile in [16, 23, 48] {
        let worst = whole.as_raw().iter().zip(of(tile).as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "tile {tile}: a byte differs by {worst:?}");
    }
}

#[test]
fn the_orientation_is_applied_and_no_metadata_goes_through() {
    let photo = photo(40, 20);
    let mut file = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95);
    // Orientation 6: turn right by a quarter to show it.
    encoder.set_exif_metadata(b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec()).unwrap();
    encoder.encode_image(&photo).unwrap();
    let outputs = run_on(engine(), json!({"scale": 2}), file, &Recorder::default()).unwrap();
    let result = image::load_from_memory(&outputs[0].bytes).unwrap();
    assert!(distance(&result, &image::imageops::rotate90(&photo), 2) < 6.0);
    for chunk in [b"eXIf", b"iCCP", b"tEXt", b"iTXt", b"zTXt"] {
        assert!(!outputs[0].bytes.windows(4).any(|w| w == chunk));
    }
}

#[test]
fn transparency_is_enlarged_beside_the_colours() {
    let photo = photo(30, 20);
    let clear = RgbaImage::from_fn(30, 20, |x, y| {
        let [r, g, b] = photo.get_pixel(x, y).0;
        image::Rgba([r, g, b, if x < 15 { 0 } else { 255 }])
    });
    let result = run(json!({"scale": 3}), png(clear)).unwrap();
    assert_eq!((result.get_pixel(3, 3).0[3], result.get_pixel(86, 50).0[3]), (0, 255));
    assert!(distance(&result, &photo, 3) < 6.0);
    let opaque = RgbaImage::from_fn(8, 8, |_, _| image::Rgba([9, 9, 9, 255]));
    assert!(!run(json!({"scale": 2}), png(opaque)).unwrap().color().has_alpha());
}

#[test]
fn the_adjustments_change_the_picture_as_they_say() {
    let dull = RgbImage::from_fn(40, 40, |x, y| image::Rgb([(90 + x) as u8, (60 + y) as u8, (60 + x) as u8]));
    let range = |image: &DynamicImage| {
        let rgb = image.to_rgb8();
        rgb.iter().max().unwrap() - rgb.iter().min().unwrap()
    };
    let plain = run(json!({"scale": 2}), png(dull.clone())).unwrap();
    let exposed = run(json!({"scale": 2, "auto_exposure": true}), png(dull.clone())).unwrap();
    assert!(range(&exposed) > 2 * range(&plain));
    let balanced = run(json!({"scale": 2, "auto_white_balance": true}), png(dull.clone())).unwrap();
    let redness = |image: &DynamicImage| image.to_rgb8().pixels().map(|p| i64::from(p[0]) - i64::from(p[2])).sum::<i64>();
    assert!(redness(&balanced) * 3 < redness(&plain));
    let sharp = run(json!({"scale": 2, "sharpen": 1.0}), png(photo(40, 40))).unwrap();
    assert_ne!(sharp, run(json!({"scale": 2}), png(photo(40, 40))).unwrap());
}

#[test]
fn progress_rises_and_a_cancel_stops_between_two_tiles() {
    let file = png(photo(96, 64)); // six tiles of 32 × 32
    let context = Recorder::default();
    run_on(engine(), json!({"scale": 2}), file.clone(), &context).unwrap();
    let progress = context.progress.lock().unwrap();
    assert!(progress.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert_eq!(progress.iter().filter(|p| p.1 == "network").count(), 6);
    assert_eq!(progress.last().unwrap().0, 1.0);

    let context = Recorder { cancel_after: Some(2), ..Recorder::default() };
    assert!(matches!(run_on(engine(), json!({"scale": 2}), file, &context), Err(EngineError::Cancelled)));
    assert_eq!(context.progress.lock().unwrap().iter().filter(|p| p.1 == "network").count(), 2);
}

#[test]
fn what_is_no_good_picture_fails_for_good() {
    let whole = png(photo(20, 20));
    let cut = whole[..whole.len() / 2].to_vec();
    for (bytes, code) in [(Vec::new(), "media_empty"), (b"GIF89a".to_vec(), "media_unsupported"), (cut, "media_truncated")] {
        match run(json!({"scale": 2}), bytes) {
            Err(EngineError::Permanent { code: found, .. }) => assert_eq!(found, code),
            other => panic!("{other:?}"),
        }
    }
    for params in [json!({"scale": 5}), json!({}), json!({"scale": 2, "sharpen": -1})] {
        assert!(matches!(run(params, whole.clone()), Err(EngineError::Permanent { code: "invalid_params", .. })));
    }
    let none = engine().run("upscale", &json!({"scale": 2}), &[], &Recorder::default());
    assert!(matches!(none, Err(EngineError::Permanent { code: "invalid_inputs", .. })));
}

#[test]
fn a_single_pixel_is_enlarged_too() {
    let result = run(json!({"scale": 4}), png(photo(1, 1))).unwrap();
    assert_eq!(result.dimensions(), (4, 4));
}
