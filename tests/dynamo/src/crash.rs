//! A process that dies at every place where it can: between any two of its steps, with the request under way applied and not.

use crate::faults::Fate;
use crate::memory::Memory;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is left after one run.
#[derive(Debug)]
pub struct Crashed<T> {
    /// The table as the dead process left it. A check may go on with it: start the process again, repeat the request.
    pub memory: Memory,
    /// It died when it waited for the `at`-th time; one more than the last place when it came to its end.
    pub at: usize,
    /// What became of the request that was under way.
    pub fate: Fate,
    /// What it gave, if it came to its end.
    pub ended: Option<T>,
}

/// Runs what `make` makes again and again on a copy of `world`, and drops it at the first time it waits, at the second, and so on until it
/// comes to its end; each twice, with the request under way applied and not applied. `check` sees each outcome. Gives the number of places.
///
/// Every phase of a call is one such place, and so is every turn of a sleep.
pub async fn at_every_await<T, F, R, C, D>(world: &Memory, make: F, mut check: C) -> usize
where
    F: Fn(Memory) -> R,
    R: Future<Output = T>,
    C: FnMut(Crashed<T>) -> D,
    D: Future<Output = ()>,
{
    for at in 1.. {
        let mut ends = 0;
        for fate in [Fate::Applied, Fate::NotApplied] {
            let memory = world.fork();
            let ended = dies_at(&memory, at, fate, make(memory.clone())).await;
            ends += usize::from(ended.is_some());
            check(Crashed { memory, at, fate, ended }).await;
        }
        if ends == 2 {
            return at - 1;
        }
    }
    unreachable!("the loop has no other end")
}

/// Runs a process on this table and drops it when it waits for the `at`-th time, its request under way applied or not; what it gave, if it
/// came to its end before. For worlds that can't be forked: where something beside the table is changed too.
pub async fn dies_at<R: Future>(memory: &Memory, at: usize, fate: Fate, process: R) -> Option<R::Output> {
    memory.yields(1..=1).on_drop(fate);
    Until { future: Some(Box::pin(process)), left: at }.await
}

/// Polls a future and drops it when it has waited so many times.
struct Until<R> {
    future: Option<Pin<Box<R>>>,
    left: usize,
}

impl<R: Future> Future for Until<R> {
    type Output = Option<R::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else { return Poll::Ready(None) };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.left -= 1;
        if self.left > 0 {
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(None)
    }
}
