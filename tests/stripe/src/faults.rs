//! Planned failures of the API, so that a caller's ambiguity can be tested.

use serde::{Deserialize, Serialize};

/// How a call fails. "Applied" says whether the call did its work before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 500, not applied. The idempotency key stays free.
    Error500,
    /// 500, applied. As Stripe says, the 500 is the key's answer from now on.
    Error500Applied,
    /// No answer until `ms` are over (then a 504); not applied. The idempotency key stays free.
    TimeOut,
    /// No answer until `ms` are over (then a 504); applied. The key's answer is the real one.
    TimeOutApplied,
    /// 429, not applied.
    RateLimit,
    /// 409 `lock_timeout`, not applied.
    Lock,
    /// Served, but only after `ms`; its idempotency key is in use meanwhile.
    Delay,
}

/// One planned failure. It holds for calls under `/v1` only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// How many calls it takes; 1 unless told.
    #[serde(default = "once")]
    pub times: u32,
    /// `GET`, `POST`, `DELETE`; any unless told.
    #[serde(default)]
    pub method: Option<String>,
    /// What the path begins with, such as `/v1/refunds`; any unless told.
    #[serde(default)]
    pub path: Option<String>,
    /// Milliseconds; a minute for time-outs and 500 for a delay unless told.
    #[serde(default)]
    pub ms: Option<u64>,
}

fn once() -> u32 {
    1
}

/// Takes the first fault that a call meets.
pub fn take(faults: &mut Vec<Fault>, method: &str, path: &str) -> Option<Fault> {
    let meets = |f: &Fault| f.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method)) && f.path.as_deref().is_none_or(|p| path.starts_with(p));
    let at = faults.iter().position(meets)?;
    let fault = faults[at].clone();
    faults[at].times = faults[at].times.saturating_sub(1);
    if faults[at].times == 0 {
        faults.remove(at);
    }
    Some(fault)
}
