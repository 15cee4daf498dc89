//! What actually happened in the runs, counted: a fault that never struck has tested nothing.

macro_rules! seen {
    ($($name:ident: $text:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Seen { $($name,)* }

        impl Seen {
            pub const ALL: &'static [(Seen, &'static str)] = &[$((Seen::$name, $text),)*];
        }
    };
}

seen! {
    Submitted: "jobs submitted",
    SubmitRepeated: "submits answered by their idempotency record",
    NoCredit: "submits refused: not enough credits",
    QueueFull: "submits refused: account's queue full",
    Claimed: "claims of queued jobs",
    TakenOver: "takeovers of dead leases",
    ClaimAgain: "claims repeated, same answer",
    ClaimUsed: "late copies of used claims refused",
    LeaseLive: "claims refused: lease live",
    AccountFull: "claims refused: account full",
    NotDue: "claims refused: not due",
    JobFinished: "claims refused: job finished",
    Exhausted: "claims refused: tries used up",
    WorkerBusy: "claims refused: worker busy",
    WorkerDraining: "claims refused: worker draining",
    Incapable: "claims refused: incapable",
    Excluded: "claims refused: host excluded",
    Beat: "heartbeats",
    BeatCancelled: "heartbeats that learnt of a cancel",
    BeatSuperseded: "heartbeats of lost attempts refused",
    BeatTooLong: "heartbeats past max_run_s refused",
    Succeeded: "jobs succeeded",
    Failed: "jobs failed",
    Cancelled: "jobs cancelled",
    CompleteAgain: "completes repeated",
    CompleteLate: "late or forged completes refused",
    CompleteAfterLease: "completes accepted after the lease lapsed",
    CompleteNoUpload: "completes refused: nothing uploaded",
    UploadRefused: "uploads refused to lost attempts",
    FailAgain: "failures repeated",
    FailLate: "late or forged failures refused",
    Retryable: "attempts failed, retryable",
    Permanent: "attempts failed, permanent",
    Drained: "attempts drained",
    Suspected: "permanent failures waiting for a second host",
    SuspicionBelieved: "suspicions believed after second_host_s",
    CancelAgain: "cancels repeated",
    CancelLate: "cancels refused: ended otherwise",
    Abandoned: "attempts ended by registering again",
    SweptLease: "dead leases swept",
    SweptWaited: "jobs ended: waited too long",
    SweptGone: "jobs ended: account gone",
    SweepLater: "looks by maintenance that changed nothing else",
    SweepStale: "stale rows of the owed index passed over",
    SweepHint: "hints by maintenance",
    QueueHint: "hints after a submit or requeue",
    FreedHint: "hints after a slot came free",
    Rearmed: "jobs re-armed from the dead-letter queue",
    MessageLost: "messages lost",
    MessageDoubled: "messages doubled",
    MessageLate: "messages late and out of order",
    MessageMisrouted: "messages on the wrong queue",
    MessageDead: "messages fallen into the dead-letter queue",
    SecondMessage: "second messages given back",
    VisibilityOver: "messages seen again after their visibility timeout",
    DeleteLost: "deletes of messages lost",
    CallLost: "calls lost",
    CallDoubled: "calls doubled",
    CallLate: "calls late",
    AnswerLost: "answers lost",
    CallRepeated: "calls repeated by their worker",
    Partitioned: "calls held or lost in a partition",
    Conflict: "commits refused: the table had moved on",
    Throttled: "commits refused: transaction conflict",
    Ambiguous: "commits applied, their answer lost",
    Ghost: "commits applied after they were given up",
    CrashBefore: "servers dead before the commit",
    CrashAfter: "servers dead between commit and send",
    Paused: "servers paused before the commit",
    FreeLost: "slots not freed",
    DiedBeforeClaim: "workers dead before the claim",
    DiedAfterClaim: "workers dead after the claim",
    DiedWorking: "workers dead mid-work",
    DiedAfterUpload: "workers dead after the upload",
    DiedReporting: "workers dead before complete's answer",
    Restarted: "workers started, first or again",
    Hung: "engines that hung",
    Lied: "forged or repeated calls by lying hosts",
    LiarFailed: "false permanent failures by lying hosts",
    TickDied: "ticks of maintenance dead midway",
    TickSkipped: "ticks of maintenance left out",
    AllLost: "runs with every message lost",
    Thrice: "runs with every message three times",
}

#[derive(Debug, Clone)]
pub struct Coverage {
    counts: [u64; Seen::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Self { counts: [0; Seen::ALL.len()] }
    }
}

impl Coverage {
    pub fn saw(&mut self, what: Seen) {
        self.counts[what as usize] += 1;
    }

    pub fn count(&self, what: Seen) -> u64 {
        self.counts[what as usize]
    }

    pub fn add(&mut self, other: &Coverage) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        Seen::ALL.iter().filter(|(what, _)| self.count(*what) == 0).map(|(_, text)| *text).collect()
    }

    pub fn lines(&self) -> String {
        Seen::ALL.iter().map(|(what, text)| format!("{:>9}  {text}\n", self.count(*what))).collect()
    }
}
