//! What becomes of a message, and which of several is taken: the rules of a claim's answer, without any I/O.

use super::api::CallError;
use kiln_core::machine::Refusal;

/// What to do with the message after a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The job needs no worker now, or the refusal will be the same for every worker.
    Delete,
    /// Another worker may take it: visible again at once; this one waits before it polls again.
    GiveBack,
}

/// What the slot does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Idle, as the server knows: poll at once.
    Poll,
    /// The server or the worker isn't well: poll after a pause.
    Pause,
    /// The server may believe that this slot is taken. Registering again frees it.
    RegisterAgain,
}

/// The fate of a message whose claim was not granted.
pub fn refused(error: &CallError) -> (Fate, Next) {
    match error {
        // Whether the claim was committed is unknown: an attempt may be open in this slot's name.
        CallError::NoAnswer(_) | CallError::Unreadable(_) => (Fate::GiveBack, Next::RegisterAgain),
        CallError::Trouble { .. } => (Fate::GiveBack, Next::Pause),
        CallError::Refused { status, code, .. } => match Refusal::from_code(code) {
            Some(refusal) if refusal.about_the_job() => (Fate::Delete, Next::Poll),
            Some(Refusal::WorkerBusy) => (Fate::GiveBack, Next::RegisterAgain),
            Some(_) => (Fate::GiveBack, Next::Pause),
            // A job that doesn't exist, or an id the server can't read, whoever asks.
            None if matches!(status, 400 | 404 | 410 | 422) => (Fate::Delete, Next::Pause),
            None => (Fate::GiveBack, Next::Pause),
        },
    }
}

/// Of messages that came together, by their queue's rank (rush is 0): the one to take, then those to give back.
pub fn choose<M>(mut came: Vec<(usize, M)>) -> Option<(M, Vec<M>)> {
    let first = came.iter().enumerate().min_by_key(|(_, (rank, _))| *rank)?.0;
    let (_, taken) = came.remove(first);
    Some((taken, came.into_iter().map(|(_, message)| message).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> CallError {
        CallError::Refused { status, code: code.into(), detail: String::new() }
    }

    #[test]
    fn a_refusal_about_the_job_deletes_its_message_and_one_about_the_worker_gives_it_back() {
        for known in Refusal::ALL {
            let (fate, _) = refused(&refusal(409, known.code()));
            assert_eq!(fate, if known.about_the_job() { Fate::Delete } else { Fate::GiveBack }, "{}", known.code());
        }
    }

    #[test]
    fn trouble_of_the_server_and_a_token_it_does_not_know_leave_the_message_for_another() {
        for error in [CallError::Trouble { status: 503, after: None }, refusal(401, "unauthorized"), refusal(403, "forbidden"), refusal(409, "new_code")] {
            assert_eq!(refused(&error), (Fate::GiveBack, Next::Pause), "{error}");
        }
    }

    #[test]
    fn a_claim_without_an_answer_may_have_opened_an_attempt() {
        assert_eq!(refused(&CallError::NoAnswer("reset".into())), (Fate::GiveBack, Next::RegisterAgain));
        assert_eq!(refused(&refusal(409, "worker_busy")), (Fate::GiveBack, Next::RegisterAgain));
    }

    #[test]
    fn rush_is_taken_first_and_the_rest_given_back() {
        let (taken, rest) = choose(vec![(1, "standard"), (0, "rush"), (1, "late")]).unwrap();
        assert_eq!((taken, rest), ("rush", vec!["standard", "late"]));
        assert_eq!(choose(vec![(1, "only")]).unwrap().0, "only");
        assert!(choose(Vec::<(usize, ())>::new()).is_none());
    }
}
