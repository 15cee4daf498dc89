//! What the engine's tests share: the weights' folder, the reference tensors, and how far two results are apart.

#![allow(dead_code, unused_imports)] // each test file uses its own part

use kiln_worker::engine::upscale::Planes;
use std::path::{Path, PathBuf};

pub mod models {
    pub use kiln_worker::models::load_upscaler;

    /// The weights' folder; a test without weights fails with a line that names the script that fetches them.
    pub fn dir() -> std::path::PathBuf {
        match std::env::var_os("KILN_MODELS_DIR") {
            Some(dir) => dir.into(),
            None => std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/models"),
        }
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A reference tensor; the input is 27 × 21 pixels, an output `scale` times that.
pub fn reference(name: &str, scale: usize) -> Planes {
    let path = data().join(format!("{name}.f32"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let data = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<f32>>();
    let planes = Planes { width: 27 * scale, height: 21 * scale, data };
    assert_eq!(planes.data.len(), 3 * planes.width * planes.height, "{name}");
    planes
}

/// The largest difference of two results.
pub fn worst(a: &Planes, b: &Planes) -> f32 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
