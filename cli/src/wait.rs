//! Waiting for a job, with a progress bar where there is a terminal and a line per change where there is none.
//! Ctrl-C leaves the job running and says how to find it again.

use crate::api::{Api, Failure};
use crate::text;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);
/// Unanswered looks in a row after which waiting ends.
const PATIENCE: u32 = 30;

/// The job once it has ended, however.
pub async fn until_ended(api: &Api, id: &str, quiet: bool) -> Result<Value> {
    tokio::select! {
        ended = follow(api, id, quiet) => ended,
        _ = tokio::signal::ctrl_c() => {
            Err(Failure::Interrupted(format!("{id} goes on. See it: kiln job {id}; get its result: kiln download {id}; stop it: kiln cancel {id}")).into())
        }
    }
}

async fn follow(api: &Api, id: &str, quiet: bool) -> Result<Value> {
    let mut view = View::new(quiet);
    let mut unanswered = 0;
    loop {
        match api.get(&format!("jobs/{id}")).await {
            Ok(job) => {
                unanswered = 0;
                view.show(&job);
                if matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
                    view.end();
                    return Ok(job);
                }
            }
            // The job goes on without us: a server that is away for a moment is no reason to stop waiting.
            Err(error) => {
                let passing = match error.downcast_ref::<Failure>() {
                    Some(Failure::NoConnection { .. }) => true,
                    Some(Failure::Refused(problem)) => problem.status >= 500 || problem.status == 429,
                    _ => false,
                };
                unanswered += 1;
                if !passing || unanswered >= PATIENCE {
                    view.end();
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

struct View {
    bar: Option<ProgressBar>,
    quiet: bool,
    told: String,
}

impl View {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("  {bar:32} {percent:>3} %  {msg}").expect("the template is right").progress_chars("━╸ ");
            ProgressBar::new(1000).with_style(style)
        });
        Self { bar, quiet, told: String::new() }
    }

    fn show(&mut self, job: &Value) {
        let line = told(job);
        if let Some(bar) = &self.bar {
            bar.set_message(line);
            bar.set_position((job["progress"].as_f64().unwrap_or(0.0) * 1000.0) as u64);
        } else if !self.quiet && line != self.told {
            eprintln!("  {line}");
            self.told = line;
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `queued, about 3rd`, `running: network`.
fn told(job: &Value) -> String {
    let state = text::plain(&job["state"]);
    let attempt = job["attempt"].as_u64().unwrap_or(0);
    let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
    match (state.as_str(), job["queue_position"].as_u64(), job["stage"].as_str()) {
        ("queued", Some(position), _) => format!("queued, about {position} in the queue{}{again}", waits(&job["waits_for"])),
        ("running", _, Some(_)) => format!("running: {}{again}", text::plain(&job["stage"])),
        _ => format!("{state}{again}"),
    }
}

/// `; a machine is starting (models), about 2 min`.
fn waits(waits: &Value) -> String {
    let why = match waits["reason"].as_str() {
        Some("paused") => "; the machines are switched off, it waits",
        Some("no_machine") => "; no machine is to be had at the moment, it waits",
        _ => match (waits["machine"].as_str(), waits["boot_stage"].as_str()) {
            (Some("requested"), _) => "; a machine is being rented",
            (Some("loading"), Some("models")) => "; a machine is loading its models",
            (Some("loading"), _) => "; a machine is starting",
            _ => "",
        },
    };
    match waits["expected_start_s"].as_u64() {
        Some(seconds @ 1..90) => format!("{why}, starts in about {seconds} s"),
        Some(seconds @ 90..) => format!("{why}, starts in about {} min", seconds.div_ceil(60)),
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_job_waits_for_is_told_with_when_it_starts() {
        let told = |waits: Value| told(&json!({"state": "queued", "queue_position": 1, "attempt": 0, "waits_for": waits}));
        assert_eq!(
            told(json!({"machine": "loading", "boot_stage": "models", "expected_start_s": 130})),
            "queued, about 1 in the queue; a machine is loading its models, starts in about 3 min"
        );
        assert_eq!(told(json!({"machine": "busy", "expected_start_s": 12})), "queued, about 1 in the queue, starts in about 12 s");
        assert_eq!(told(json!({"machine": null, "reason": "no_machine"})), "queued, about 1 in the queue; no machine is to be had at the moment, it waits");
        assert_eq!(told(json!(null)), "queued, about 1 in the queue");
    }

    #[test]
    fn a_job_is_told_in_a_few_words() {
        assert_eq!(told(&json!({"state": "queued", "queue_position": 3, "attempt": 0})), "queued, about 3 in the queue");
        assert_eq!(told(&json!({"state": "running", "stage": "network", "attempt": 2})), "running: network (attempt 2)");
        assert_eq!(told(&json!({"state": "succeeded", "attempt": 1})), "succeeded");
    }
}
