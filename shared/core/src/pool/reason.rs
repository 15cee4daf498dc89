//! Why the pool did what it did, as data: the log, the audit, `admin/pool` and docs/OPERATORS.md tell the same.

use serde::{Deserialize, Serialize};

/// Why a decision was made, or why none was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Jobs wait, and the machines that are there or on their way can't start them in time.
    Waiting { queued: u64, supply: u32, wanted: u32 },
    /// Jobs are past their time since machines were taken away: one that stays is rented beside those that may be taken too.
    Hedge { queued: u64, supply: u32, wanted: u32 },
    /// The jobs that are expected need more machines.
    Expected { per_hour: u64, supply: u32, wanted: u32 },
    /// The operator wants so many, whatever the demand.
    Floor { supply: u32, wanted: u32 },
    /// There are more machines than the pool may have.
    AboveMax { max: u32 },
    /// It had no work for so long.
    Idle { idle_s: u64 },
    /// The jobs that are expected don't need it.
    NotNeeded { idle_s: u64, wanted: u32 },
    /// It did not boot within its time.
    BootTooLong { waited_s: u64 },
    /// It has not spoken for so long.
    Silent { silent_s: u64 },
    /// It has said for so long that it is ready, and took none of the jobs that it could do.
    IdleBesideWork { idle_s: u64 },
    /// So many machines are silent all at once, or since nobody looked: it may be an outage of ours, and they have a while to speak.
    InDoubt { machines: u32, wait_s: u64 },
    /// It was interruptible, and was taken away.
    TakenAway,
    /// So many jobs failed at its host that another one did.
    Quarantined { faults: u64 },
    /// An operator sent it away, or its boot token was used twice: its tokens are worth nothing any more.
    SentAway,
    /// The operator has switched safe mode on.
    SafeMode,
    /// The hour's, day's or month's budget does not cover it any further.
    Budget { window: String },
    /// What is covered of it ends: it goes whatever it does.
    CoverEnds { left_s: u64 },
    /// What is there could not be read, so nothing is rented.
    Unreadable { what: String },
    /// The direction was changed just now: nothing is given back before a boot's time has passed.
    TooSoon { wait_s: u64 },
}

impl Reason {
    /// Its name, as in the documentation.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Waiting { .. } => "waiting",
            Reason::Hedge { .. } => "hedge",
            Reason::Expected { .. } => "expected",
            Reason::Floor { .. } => "floor",
            Reason::AboveMax { .. } => "above_max",
            Reason::Idle { .. } => "idle",
            Reason::NotNeeded { .. } => "not_needed",
            Reason::BootTooLong { .. } => "boot_too_long",
            Reason::Silent { .. } => "silent",
            Reason::IdleBesideWork { .. } => "idle_beside_work",
            Reason::InDoubt { .. } => "in_doubt",
            Reason::TakenAway => "taken_away",
            Reason::Quarantined { .. } => "quarantined",
            Reason::SentAway => "sent_away",
            Reason::SafeMode => "safe_mode",
            Reason::Budget { .. } => "budget",
            Reason::CoverEnds { .. } => "cover_ends",
            Reason::Unreadable { .. } => "unreadable",
            Reason::TooSoon { .. } => "too_soon",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Waiting { queued, supply, wanted } => write!(f, "jobs that wait: {queued}; machines there or on their way: {supply}; wanted: {wanted}"),
            Reason::Hedge { queued, supply, wanted } => {
                write!(f, "machines were taken away and jobs that wait ({queued}) are past their time; {supply} machines, wanted: {wanted}, of those that stay")
            }
            Reason::Expected { per_hour, supply, wanted } => {
                write!(f, "{per_hour} jobs an hour are expected; there are {supply} machines, {wanted} are wanted")
            }
            Reason::Floor { supply, wanted } => write!(f, "{wanted} machines are asked for whatever the demand; there are {supply}"),
            Reason::AboveMax { max } => write!(f, "there are more machines than the {max} that the pool may have"),
            Reason::Idle { idle_s } => write!(f, "it was idle for {idle_s} s"),
            Reason::NotNeeded { idle_s, wanted } => write!(f, "it was idle for {idle_s} s, and the jobs that are expected need {wanted} machines"),
            Reason::BootTooLong { waited_s } => write!(f, "it did not boot in {waited_s} s"),
            Reason::Silent { silent_s } => write!(f, "no word for {silent_s} s"),
            Reason::IdleBesideWork { idle_s } => write!(f, "it was ready for {idle_s} s and took none of the jobs that wait"),
            Reason::InDoubt { machines, wait_s } => {
                write!(f, "{machines} machines are silent, and so were we or all others: they have {wait_s} s to speak before they are given back")
            }
            Reason::TakenAway => write!(f, "it was taken away, since somebody pays more for it"),
            Reason::Quarantined { faults } => write!(f, "{faults} jobs failed at its host that others did"),
            Reason::SentAway => write!(f, "it was sent away, or ended by a word of ours"),
            Reason::SafeMode => write!(f, "safe mode is on"),
            Reason::Budget { window } => write!(f, "the {window}'s budget does not cover it any further"),
            Reason::CoverEnds { left_s } => write!(f, "what is covered of it ends in {left_s} s"),
            Reason::Unreadable { what } => write!(f, "{what} could not be read, so nothing is rented"),
            Reason::TooSoon { wait_s } => write!(f, "the pool has just grown; nothing is given back for {wait_s} s more"),
        }
    }
}
