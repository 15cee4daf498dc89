//! `noop`: takes its time and makes pictures of one pixel. For tests and benches; the agent registers it only under
//! `KILN_TEST_ENGINES=1`.

use super::{Context, Engine, EngineError, Input, Output};
use kiln_core::kinds::noop::{NoopFailure, NoopParams};
use std::time::{Duration, Instant};

/// Longest step between two looks at `cancelled`.
const STEP: Duration = Duration::from_millis(20);

/// The engine that does nothing, at length.
#[derive(Debug, Default)]
pub struct Noop;

impl Engine for Noop {
    fn self_test(&self) -> Result<(), String> {
        Ok(())
    }

    fn kinds(&self) -> &'static [&'static str] {
        &["noop", "noop_metered"]
    }

    fn run(&self, _kind: &str, params: &serde_json::Value, _inputs: &[Input], context: &dyn Context) -> Result<Vec<Output>, EngineError> {
        let params: NoopParams =
            serde_json::from_value(params.clone()).map_err(|e| EngineError::Permanent { code: "invalid_params", message: e.to_string() })?;
        let total = Duration::from_millis(params.ms);
        let start = Instant::now();
        loop {
            if context.cancelled() {
                return Err(EngineError::Cancelled);
            }
            let left = total.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            context.progress(start.elapsed().as_secs_f32() / total.as_secs_f32(), "work");
            // Its only work is to take time, as a busy device would.
            std::thread::sleep(left.min(STEP));
        }
        let message = || "the test asked for it".to_owned();
        match params.fail {
            Some(NoopFailure::Panic) => panic!("noop: {}", message()),
            Some(NoopFailure::Retryable) => {
                return Err(EngineError::Retryable { code: "noop_retryable", message: message() });
            }
            Some(NoopFailure::Permanent) => {
                return Err(EngineError::Permanent { code: "noop_permanent", message: message() });
            }
            None => {}
        }
        context.progress(1.0, "work");
        let bytes = one_pixel()?;
        let name = |number| {
            if number == 1 { "result.png".to_owned() } else { format!("result-{number}.png") }
        };
        Ok((1..=params.outputs).map(|n| Output { name: name(n), content_type: "image/png", bytes: bytes.clone() }).collect())
    }
}

fn one_pixel() -> Result<Vec<u8>, EngineError> {
    let mut file = Vec::new();
    let failed = |e: png::EncodingError| EngineError::Retryable { code: "encode_failed", message: e.to_string() };
    let mut encoder = png::Encoder::new(&mut file, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&[250, 120, 30]).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::media;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Cancels at the n-th look.
    struct Script {
        looks: AtomicUsize,
        cancel_at: usize,
    }

    impl Context for Script {
        fn progress(&self, fraction: f32, _stage: &str) {
            assert!((0.0..=1.0).contains(&fraction));
        }
        fn cancelled(&self) -> bool {
            self.looks.fetch_add(1, Relaxed) + 1 >= self.cancel_at
        }
    }

    fn run(params: serde_json::Value, cancel_at: usize) -> Result<Vec<Output>, EngineError> {
        Noop.run("noop", &params, &[], &Script { looks: AtomicUsize::new(0), cancel_at })
    }

    #[test]
    fn it_makes_as_many_pictures_as_asked() {
        let outputs = run(json!({"outputs": 3}), usize::MAX).unwrap();
        let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["result.png", "result-2.png", "result-3.png"]);
        let facts = media::inspect(&outputs[0].bytes).unwrap();
        assert_eq!((facts.content_type.as_str(), facts.width, facts.height), (outputs[0].content_type, 1, 1));
    }

    #[test]
    fn it_stops_within_a_step_when_cancelled() {
        let start = Instant::now();
        assert!(matches!(run(json!({"ms": 600_000}), 3), Err(EngineError::Cancelled)));
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn it_fails_as_asked() {
        assert!(matches!(run(json!({"fail": "retryable"}), 9), Err(EngineError::Retryable { .. })));
        assert!(matches!(run(json!({"fail": "permanent"}), 9), Err(EngineError::Permanent { .. })));
        assert!(std::panic::catch_unwind(|| run(json!({"fail": "panic"}), 9)).is_err());
        assert!(matches!(run(json!({"fail": "colour"}), 9), Err(EngineError::Permanent { .. })));
    }
}
