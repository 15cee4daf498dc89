//! What the operator asks of the pool, and what it may cost.

use crate::FieldError;
use serde::{Deserialize, Serialize};

/// Most machines of one pool.
pub const MOST_MACHINES: u32 = 100;
/// Largest budget: a million dollars, in millionths.
pub const MOST_BUDGET: i64 = 1_000_000_000_000;

/// When a machine without work is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// When it has been idle for `idle_shutdown_s`.
    #[default]
    Idle,
    /// As soon as the jobs that are expected don't need it, and at `idle_shutdown_s` at the latest.
    Learned,
}

/// What the operator asks of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Machines kept whatever the demand.
    pub desired_size: u32,
    pub min: u32,
    pub max: u32,
    /// A machine with nothing to do for this long is given back, above `desired_size` and `min`.
    pub idle_shutdown_s: u64,
    /// Everything is given back now and nothing rented, until it is switched off.
    #[serde(default)]
    pub safe_mode: bool,
    /// When a machine without work is given back.
    #[serde(default, rename = "policy")]
    pub keep: Keep,
    /// The most that a clock hour (UTC) may cost, in millionths of a dollar; none: no limit of its own.
    #[serde(default)]
    pub budget_hour_microusd: Option<i64>,
    #[serde(default)]
    pub budget_day_microusd: Option<i64>,
    #[serde(default)]
    pub budget_month_microusd: Option<i64>,
    /// Within how many seconds a job is to start, but for what a boot takes where there was no machine.
    #[serde(default = "start_within_s")]
    pub start_within_s: u64,
    /// The dearest machine that may be rented: GPU and disk for an hour, and what it downloads once, together.
    #[serde(default)]
    pub max_microusd_per_hour: Option<i64>,
    /// GPUs that may be rented, by the provider's names; none: any.
    #[serde(default)]
    pub gpus: Vec<String>,
    /// Whether machines are rented that may be taken away for somebody who pays more: they cost less, and a job that was on one begins anew.
    #[serde(default = "interruptible")]
    pub interruptible: bool,
    /// Whether machines without work are kept stopped where their provider bills little for them, so that they are soon there again.
    #[serde(default = "keep_stopped")]
    pub keep_stopped: bool,
}

fn interruptible() -> bool {
    true
}

fn keep_stopped() -> bool {
    true
}

fn start_within_s() -> u64 {
    60
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            desired_size: 0,
            min: 0,
            max: 1,
            idle_shutdown_s: 900,
            safe_mode: false,
            keep: Keep::Idle,
            budget_hour_microusd: None,
            budget_day_microusd: None,
            budget_month_microusd: None,
            start_within_s: start_within_s(),
            max_microusd_per_hour: None,
            gpus: vec![],
            interruptible: interruptible(),
            keep_stopped: keep_stopped(),
        }
    }
}

impl Policy {
    /// Machines that are there whatever the demand.
    pub fn floor(&self) -> u32 {
        self.desired_size.max(self.min)
    }

    /// Whether anything limits what the pool may cost.
    pub fn has_budget(&self) -> bool {
        [self.budget_hour_microusd, self.budget_day_microusd, self.budget_month_microusd].iter().any(Option::is_some)
    }

    /// What is wrong with it, by field.
    pub fn validate(&self) -> Result<(), FieldError> {
        let wrong = |field: &str, message: &str| Err(FieldError::new(field, message));
        if self.max > MOST_MACHINES {
            return wrong("max", "at most 100");
        }
        if self.min > self.max {
            return wrong("min", "at most max");
        }
        if self.desired_size > self.max {
            return wrong("desired_size", "at most max");
        }
        if !(1..=86_400).contains(&self.idle_shutdown_s) {
            return wrong("idle_shutdown_s", "from 1 to 86400");
        }
        if !(1..=86_400).contains(&self.start_within_s) {
            return wrong("start_within_s", "from 1 to 86400");
        }
        let budgets = [
            ("budget_hour_microusd", self.budget_hour_microusd),
            ("budget_day_microusd", self.budget_day_microusd),
            ("budget_month_microusd", self.budget_month_microusd),
            ("max_microusd_per_hour", self.max_microusd_per_hour),
        ];
        for (field, amount) in budgets {
            if amount.is_some_and(|amount| !(0..=MOST_BUDGET).contains(&amount)) {
                return wrong(field, "from 0 to 1000000000000 (a million dollars)");
            }
        }
        if let (Some(day), Some(month)) = (self.budget_day_microusd, self.budget_month_microusd)
            && day > month
        {
            return wrong("budget_day_microusd", "at most budget_month_microusd");
        }
        if let (Some(hour), Some(day)) = (self.budget_hour_microusd, self.budget_day_microusd)
            && hour > day
        {
            return wrong("budget_hour_microusd", "at most budget_day_microusd");
        }
        if self.gpus.len() > 32 || self.gpus.iter().any(|gpu| gpu.is_empty() || gpu.len() > 64) {
            return wrong("gpus", "32 names at most, each of 1 to 64 bytes");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_could_not_be_followed_is_refused_by_its_field() {
        let refused = |change: fn(&mut Policy)| {
            let mut policy = Policy { max: 5, ..Policy::default() };
            change(&mut policy);
            policy.validate().unwrap_err().field
        };
        assert_eq!(refused(|policy| policy.max = 101), "max");
        assert_eq!(refused(|policy| policy.min = 6), "min");
        assert_eq!(refused(|policy| policy.desired_size = 6), "desired_size");
        assert_eq!(refused(|policy| policy.idle_shutdown_s = 0), "idle_shutdown_s");
        assert_eq!(refused(|policy| policy.start_within_s = 0), "start_within_s");
        assert_eq!(refused(|policy| policy.budget_hour_microusd = Some(-1)), "budget_hour_microusd");
        assert_eq!(refused(|policy| policy.budget_month_microusd = Some(MOST_BUDGET + 1)), "budget_month_microusd");
        assert_eq!(refused(|policy| (policy.budget_hour_microusd, policy.budget_day_microusd) = (Some(2), Some(1))), "budget_hour_microusd");
        assert_eq!(refused(|policy| (policy.budget_day_microusd, policy.budget_month_microusd) = (Some(2), Some(1))), "budget_day_microusd");
        assert_eq!(refused(|policy| policy.gpus = vec![String::new()]), "gpus");
    }

    #[test]
    fn a_policy_of_an_older_version_is_read_with_what_has_come_since() {
        let old: Policy = serde_json::from_str(r#"{"desired_size": 1, "min": 0, "max": 2, "idle_shutdown_s": 900}"#).unwrap();
        assert_eq!(old, Policy { desired_size: 1, max: 2, ..Policy::default() });
    }
}
