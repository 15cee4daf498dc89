//! Times the upscaler on a picture of random bytes: `bench_upscale WIDTH HEIGHT SCALE TILE ROUNDS [network|candle|engine]`.
//!
//! `network` (default) is the tiles alone, from bytes to bytes, as scripts/bench-upscale has PyTorch do;
//! `candle` is the same with candle on the CPU for our kernels (feature `candle`); `engine` is the whole
//! job with decoding and PNG. Prints one line of JSON: seconds per round, and the process's peak memory.

use kiln_worker::engine::upscale::cpu::{CpuNetwork, Region};
use kiln_worker::engine::upscale::{Network, Upscale, UpscaleSettings};
use kiln_worker::engine::{Context, Engine, Input};
use kiln_worker::{image_io::Picture, models};
use std::time::Instant;

struct Quiet;

impl Context for Quiet {
    fn progress(&self, _fraction: f32, _stage: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<usize>().ok());
    let (Some(width), Some(height), Some(scale), Some(tile), Some(rounds)) = (number(0), number(1), number(2), number(3), number(4)) else {
        return Err("usage: bench_upscale WIDTH HEIGHT SCALE TILE ROUNDS [network|candle|engine]".into());
    };
    let settings = UpscaleSettings { tile, ..UpscaleSettings::from_env()? };
    // Smooth, as a photo is, so that the PNG has something to do.
    let rgb = (0..width * height * 3).map(|i| ((i / 3 % width) * 255 / width + (i / 3 / width) % 97) as u8).collect();
    let picture = Picture { width, height, rgb, alpha: None };

    let mut seconds = Vec::new();
    if args.get(5).is_some_and(|a| a == "engine") {
        let engine = Upscale::new(&settings)?;
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_raw(width as u32, height as u32, picture.rgb).ok_or("size")?.write_to(&mut bytes, image::ImageFormat::Png)?;
        let input = [Input { content_type: "image/png".into(), bytes: bytes.into_inner() }];
        for _ in 0..rounds {
            let start = Instant::now();
            engine.run("upscale", &serde_json::json!({"scale": scale}), &input, &Quiet)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    } else {
        let net = models::load_upscaler(&settings.models_dir, scale as u8)?;
        let network: Box<dyn Network> = match args.get(5).map(String::as_str) {
            #[cfg(feature = "candle")]
            Some("candle") => Box::new(kiln_worker::engine::upscale::candle::CandleNetwork::new(&net, candle_core::Device::Cpu)?),
            None | Some("network") => Box::new(CpuNetwork::new(&net)),
            Some(other) => return Err(format!("{other} is not in this build").into()),
        };
        for _ in 0..rounds {
            let start = Instant::now();
            for y in (0..height).step_by(tile) {
                let h = tile.min(height - y);
                let mut band = vec![0; width * h * scale * scale * 3];
                for x in (0..width).step_by(tile) {
                    network.tile(&picture, Region { x, y, w: tile.min(width - x), h }, &mut band)?;
                }
                std::hint::black_box(&band);
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    // Linux tells the peak of the resident memory in kB.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    println!("{}", serde_json::json!({ "seconds": seconds, "peak_kb": peak }));
    Ok(())
}
