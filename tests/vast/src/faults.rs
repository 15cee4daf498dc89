//! Planned faults: which call meets them, and what it meets.

use serde::{Deserialize, Serialize};

/// What a call meets. "Applied" says that the call did its work although it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 and plain text, not applied.
    RateLimitText,
    /// 429 and JSON with `detail` alone, not applied.
    RateLimitDetail,
    /// 429 and JSON in the usual shape, not applied.
    RateLimitJson,
    /// Searching: 429 `search_quota_exceeded`, with the next midnight in `X-RateLimit-Reset`; trying again is no use before.
    SearchQuota,
    /// 401 (404 with that `status`, as is documented too) `auth_error`, although the key is right.
    AuthError,
    /// `status` (503 unless told) and a page of HTML, as a gateway gives; not applied.
    Error,
    /// The same, applied.
    ErrorApplied,
    /// 200 with `success: false`; not applied.
    SuccessFalse,
    /// No answer: after `ms` the connection is closed. Not applied.
    TimeOut,
    /// The same, applied.
    TimeOutApplied,
    /// Served, but only after `ms`.
    Delay,
    /// A list's answer carries a token for the next page that will be refused.
    BadToken,
    /// Creating: the offer is gone, 410 `no_such_ask`; it can't be found any more either.
    Gone,
    /// Creating: the machine can't start. With `cancel_unavail` 410, else a stopped instance that costs disk and gets no GPU.
    Unavailable,
    /// Creating: the instance stays `loading` for ever.
    NeverBoots,
    /// Starting: it is meant to run from now on and gets no GPU, until it is told to have it; the user interface says "scheduling".
    NeverStarts,
    /// Starting: 200 with `success: false` and `resources_unavailable`. Nothing is applied, although the text says that it is queued.
    RefusesStart,
    /// Destroying: answers `status` (200 unless told), and the instance stays, now and for later tries, until it is told to go.
    Undying,
}

impl FaultKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimitText => "rate_limit_text",
            Self::RateLimitDetail => "rate_limit_detail",
            Self::RateLimitJson => "rate_limit_json",
            Self::SearchQuota => "search_quota",
            Self::AuthError => "auth_error",
            Self::Error => "error",
            Self::ErrorApplied => "error_applied",
            Self::SuccessFalse => "success_false",
            Self::TimeOut => "time_out",
            Self::TimeOutApplied => "time_out_applied",
            Self::Delay => "delay",
            Self::BadToken => "bad_token",
            Self::Gone => "gone",
            Self::Unavailable => "unavailable",
            Self::NeverBoots => "never_boots",
            Self::NeverStarts => "never_starts",
            Self::RefusesStart => "refuses_start",
            Self::Undying => "undying",
        }
    }

    /// Whether it can happen to such a call.
    fn fits(self, call: &Call<'_>) -> bool {
        match self {
            Self::Gone | Self::Unavailable | Self::NeverBoots => call.creates(),
            Self::NeverStarts | Self::RefusesStart => call.starts,
            Self::SearchQuota => matches!(call.path, "/api/v0/bundles/" | "/api/v0/search/asks/"),
            Self::Undying => call.method == "DELETE" && call.path.starts_with("/api/v0/instances/"),
            Self::BadToken => call.method == "GET" && matches!(call.path, "/api/v1/instances/" | "/api/v0/charges/"),
            _ => true,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// How many calls it takes; 1 unless told.
    #[serde(default = "once")]
    pub times: u32,
    /// It takes every call until it is cleared.
    #[serde(default)]
    pub until_cleared: bool,
    /// Any unless told.
    #[serde(default)]
    pub method: Option<String>,
    /// What the path begins with, such as `/api/v0/asks/`; any unless told.
    #[serde(default)]
    pub path: Option<String>,
    /// What the query contains, such as `after_token` for the second and later pages; any unless told.
    #[serde(default)]
    pub query: Option<String>,
    /// What the label begins with, in the body or of the instance; any unless told.
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub status: Option<u16>,
    /// Milliseconds of the machine's clock: 60,000 for time-outs and 200 for a delay unless told.
    #[serde(default)]
    pub ms: Option<u64>,
    /// Seconds in a `Retry-After` header of a 429; none unless told.
    #[serde(default)]
    pub retry_after: Option<u32>,
}

fn once() -> u32 {
    1
}

/// A call as a fault looks at it.
pub struct Call<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub label: Option<&'a str>,
    /// It starts one instance or several.
    pub starts: bool,
}

impl Call<'_> {
    fn creates(&self) -> bool {
        self.method == "PUT" && self.path.starts_with("/api/v0/asks/")
    }
}

impl Fault {
    fn meets(&self, call: &Call<'_>) -> bool {
        self.kind.fits(call)
            && self.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(call.method))
            && self.path.as_deref().is_none_or(|p| call.path.starts_with(p))
            && self.query.as_deref().is_none_or(|q| call.query.contains(q))
            && self.label.as_deref().is_none_or(|l| call.label.is_some_and(|label| label.starts_with(l)))
    }

    /// What is wrong with a plan.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.times == 0 {
            return Err("A fault takes at least one call.");
        }
        let fits = match self.kind {
            FaultKind::Error | FaultKind::ErrorApplied => (500..=599).contains(&self.status.unwrap_or(503)),
            FaultKind::Undying => self.status.is_none_or(|s| s == 200 || (500..=599).contains(&s)),
            FaultKind::AuthError => matches!(self.status, None | Some(401 | 404)),
            _ => self.status.is_none(),
        };
        if !fits {
            return Err("status is for error and error_applied (500 to 599), undying (200 too) and auth_error (401 or 404).");
        }
        if self.ms.is_some_and(|ms| ms > 600_000) {
            return Err("ms is at most 600000.");
        }
        Ok(())
    }
}

/// Takes the first fault that a call meets.
pub fn take(faults: &mut Vec<Fault>, call: &Call<'_>) -> Option<Fault> {
    let at = faults.iter().position(|f| f.meets(call))?;
    let fault = faults[at].clone();
    if !fault.until_cleared {
        faults[at].times -= 1;
        if faults[at].times == 0 {
            faults.remove(at);
        }
    }
    Some(fault)
}
