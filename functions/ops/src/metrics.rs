//! Prometheus text, for those who scrape; CloudWatch gets its few metrics from the warm pool. Jobs are counted over the
//! owed index at the moment of asking, latencies by the jobs themselves as they succeed (`kiln_core::timing`).

use crate::workers::{POOL, count};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use kiln_core::fleet::Stage;
use kiln_core::pool::budget::windows;
use kiln_core::time::Millis;
use kiln_core::timing::{BOUNDS_S, Histogram, Times, Timings};
use kiln_http::{Admin, App, Result};
use kiln_store::{Depth, Fleet, QueueDepth};
use std::fmt::{Display, Write};

/// Counts for Prometheus, as text.
#[utoipa::path(get, path = "/api/v1/metrics", tag = "ops", responses((status = 200, description = "Prometheus text format.", body = String, content_type = "text/plain")), security(("admin" = [])))]
pub async fn metrics(State(app): State<App>, _: Admin) -> Result<impl IntoResponse> {
    let now = app.now();
    let ((depth, _), fleet, committed) = tokio::try_join!(app.table().unfinished(now), app.table().fleet(POOL), app.table().committed(now))?;
    let spent = committed.get(&windows(now)[1]).copied().unwrap_or(0);
    let mut queues = Vec::new();
    for queue in app.queues().all() {
        queues.push((format!("{}-{}", queue.capability, queue.priority.as_str()), app.queues().depth(&queue).await?));
    }
    queues.extend(app.queues().dlq_depth().await?.map(|depth| ("dead-letters".to_owned(), depth)));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(&depth, &queues, &fleet, spent, now)))
}

fn render(depth: &Depth, queues: &[(String, QueueDepth)], fleet: &Fleet, spent: i64, now: Millis) -> String {
    let mut text = Text::default();
    text.head("kiln_jobs", "Unfinished jobs.");
    for (name, number) in &depth.by_kind {
        let (kind, state) = name.rsplit_once('/').unwrap_or((name, "queued"));
        text.line("kiln_jobs", &[("kind", kind), ("state", state)], *number);
    }
    text.head("kiln_queue_depth", "Queued jobs.");
    text.line("kiln_queue_depth", &[], depth.queued);
    text.head("kiln_queue_oldest_seconds", "How long the oldest queued job waits.");
    text.line("kiln_queue_oldest_seconds", &[], depth.oldest_queued_at.map_or(0, |at| (now - at).max(0) as u64 / 1000));
    text.head("kiln_sqs_messages", "Messages, about. They are hints: jobs are counted above.");
    for (queue, depth) in queues {
        for (state, number) in [("visible", depth.visible), ("in_flight", depth.in_flight), ("delayed", depth.delayed)] {
            text.line("kiln_sqs_messages", &[("queue", queue), ("state", state)], number);
        }
    }
    text.head("kiln_instances", "Machines by stage.");
    for stage in Stage::ALL {
        text.line("kiln_instances", &[("stage", stage.as_str())], count(&fleet.instances, stage));
    }
    text.head("kiln_spend_day_microusd", "What today's rented machines cost and are covered for, in millionths of a dollar; local ones cost nothing.");
    text.line("kiln_spend_day_microusd", &[], spent);
    text.histogram("kiln_job_wait_seconds", "From the submit to the start of the attempt that succeeded.", &fleet.timings, |times| &times.wait);
    text.histogram("kiln_job_run_seconds", "From that start to the end.", &fleet.timings, |times| &times.run);
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str) {
        self.typed(name, help, "gauge");
    }

    fn typed(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn histogram(&mut self, name: &str, help: &str, timings: &Timings, of: fn(&Times) -> &Histogram) {
        self.typed(name, help, "histogram");
        for (kind, times) in &timings.0 {
            let histogram = of(times);
            let (bucket, mut below) = (format!("{name}_bucket"), 0);
            for (number, bound) in histogram.buckets.iter().zip(BOUNDS_S) {
                below += number;
                self.line(&bucket, &[("kind", kind), ("le", &bound.to_string())], below);
            }
            self.line(&bucket, &[("kind", kind), ("le", "+Inf")], histogram.count());
            self.line(&format!("{name}_sum"), &[("kind", kind)], histogram.sum_ms as f64 / 1000.0);
            self.line(&format!("{name}_count"), &[("kind", kind)], histogram.count());
        }
    }

    /// Labels are our own words and need no escaping.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let braced = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braced} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number() {
        let depth = Depth {
            queued: 2,
            running: 1,
            oldest_queued_at: Some(1_000),
            by_kind: [("upscale/queued".to_owned(), 2), ("upscale/running".to_owned(), 1)].into(),
            ..Depth::default()
        };
        let queues = [("image-rush".to_owned(), QueueDepth { visible: 1, in_flight: 2, delayed: 3 })];
        let mut fleet = Fleet::default();
        for (attribute, number) in [("t.upscale.w0", 3), ("t.upscale.w3", 1), ("t.upscale.ws", 1_250), ("t.upscale.r12", 4), ("t.upscale.rs", 16_000_000)] {
            assert!(fleet.timings.add(attribute, number));
        }
        let text = render(&depth, &queues, &fleet, 281_310, 61_000);
        for line in [
            "kiln_jobs{kind=\"upscale\",state=\"queued\"} 2",
            "kiln_queue_depth 2",
            "kiln_queue_oldest_seconds 60",
            "kiln_sqs_messages{queue=\"image-rush\",state=\"delayed\"} 3",
            "kiln_instances{stage=\"ready\"} 0",
            "kiln_job_wait_seconds_bucket{kind=\"upscale\",le=\"0.1\"} 3",
            "kiln_job_wait_seconds_bucket{kind=\"upscale\",le=\"0.5\"} 3",
            "kiln_job_wait_seconds_bucket{kind=\"upscale\",le=\"1\"} 4",
            "kiln_job_wait_seconds_sum{kind=\"upscale\"} 1.25",
            "kiln_job_run_seconds_bucket{kind=\"upscale\",le=\"3600\"} 0",
            "kiln_job_run_seconds_bucket{kind=\"upscale\",le=\"+Inf\"} 4",
            "kiln_job_run_seconds_count{kind=\"upscale\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
        }
    }
}
