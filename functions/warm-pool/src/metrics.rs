//! What a look found, for CloudWatch.

use serde_json::{Value, json};

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub queued: u64,
    pub ready: u64,
    pub day_microusd: i64,
    /// Machines that cost more than was reserved for them.
    pub beyond: u64,
    /// Jobs whose machine was ended since no budget covered it any further.
    pub killed_for_cover: u64,
}

impl Measured {
    /// CloudWatch's embedded metric format, in one line; nothing while nothing runs or waits, since each metric costs money for the hours in which it is
    /// written.
    pub fn line(&self, deployment: &str, now: i64) -> Option<Value> {
        let &Self { queued, ready, day_microusd, beyond, killed_for_cover } = self;
        if queued + ready + beyond + killed_for_cover == 0 {
            return None;
        }
        let stranded = if ready == 0 { queued } else { 0 };
        let mut values =
            vec![("QueuedJobs", json!(queued)), ("ReadyInstances", json!(ready)), ("StrandedJobs", json!(stranded)), ("SpendMicrousd", json!(day_microusd))];
        values.extend(
            [("BeyondCover", beyond), ("KilledForCover", killed_for_cover)].into_iter().filter(|(_, count)| *count > 0).map(|(name, n)| (name, json!(n))),
        );
        let names: Vec<_> = values.iter().map(|(name, _)| json!({ "Name": name })).collect();
        let mut line = json!({
            "_aws": { "Timestamp": now, "CloudWatchMetrics": [{ "Namespace": "Kiln", "Dimensions": [["Deployment"]], "Metrics": names }] },
            "Deployment": deployment,
        });
        for (name, value) in values {
            line[name] = value;
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an alarm of the template says under this name.
    fn of_alarm<'a>(alarm: &str, name: &str) -> &'a str {
        let template = include_str!("../../../template.yaml");
        let from = template.split_once(&format!("\n  {alarm}:\n")).unwrap().1;
        let mut lines = from.split("\n\n").next().unwrap().lines();
        lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")).unwrap()
    }

    #[test]
    fn the_alarms_ask_for_what_is_written() {
        let line = Measured { queued: 3, beyond: 2, ..Measured::default() }.line("kiln-of-tests", 1).unwrap();
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        let names: Vec<&str> = metrics["Metrics"].as_array().unwrap().iter().map(|metric| metric["Name"].as_str().unwrap()).collect();
        for (alarm, count) in [("BeyondCoverAlarm", 2), ("QueuedNoWorkerAlarm", 3)] {
            let name = of_alarm(alarm, "MetricName");
            assert!(names.contains(&name) && line[name] == count, "{alarm} asks for {name}: {line}");
            assert_eq!(
                (of_alarm(alarm, "Namespace"), of_alarm(alarm, "- { Name")),
                (metrics["Namespace"].as_str().unwrap(), "Deployment, Value: !Ref AWS::StackName }")
            );
        }
        assert_eq!((metrics["Dimensions"].clone(), line["Deployment"].clone()), (json!([["Deployment"]]), json!("kiln-of-tests")));
    }

    #[test]
    fn what_is_seldom_is_written_where_there_is_any_and_nothing_while_there_is_nothing() {
        assert_eq!(Measured { day_microusd: 5, ..Measured::default() }.line("kiln", 1), None);
        let line = Measured { ready: 1, queued: 2, day_microusd: 5, ..Measured::default() }.line("kiln", 1).unwrap();
        assert_eq!([&line["QueuedJobs"], &line["ReadyInstances"], &line["StrandedJobs"], &line["SpendMicrousd"]], [&json!(2), &json!(1), &json!(0), &json!(5)]);
        assert!(line.get("BeyondCover").is_none() && line.get("KilledForCover").is_none(), "{line}");
        assert_eq!(Measured { killed_for_cover: 1, ..Measured::default() }.line("kiln", 1).unwrap()["KilledForCover"], 1);
    }
}
