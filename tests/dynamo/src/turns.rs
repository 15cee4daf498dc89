//! Time as turns of the scheduler: no clock is read and none is waited for.

use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_async::time::TimeSource;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lets everybody else have so many turns.
#[derive(Debug)]
pub struct Turns(pub u64);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A sleep is one turn a millisecond, and no more than a thousand.
#[derive(Debug)]
pub struct InTurns;

impl AsyncSleep for InTurns {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(Turns(duration.as_millis().clamp(1, 1000) as u64))
    }
}

/// It is always the same moment: nothing expires, and the same request has the same signature.
#[derive(Debug)]
pub struct Still;

impl TimeSource for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}
