//! A standard SQS queue: at least once, in no order; a received message hides for its visibility timeout, and falls
//! into the dead-letter queue when it was received too often.

use fastrand::Rng;
use kiln_core::time::Millis;

#[derive(Debug, Clone)]
pub struct Message {
    pub id: u64,
    pub job: usize,
    visible_at: Millis,
    receives: u32,
}

#[derive(Debug, Default)]
pub struct Queue {
    messages: Vec<Message>,
}

/// What one receive brought.
#[derive(Debug)]
pub enum Received {
    Nothing,
    /// It was received too often: it went to the dead-letter queue instead.
    Dead {
        job: usize,
    },
    Message {
        message: Message,
        again: bool,
    },
}

impl Queue {
    pub fn send(&mut self, id: u64, job: usize, visible_at: Millis) {
        self.messages.push(Message { id, job, visible_at, receives: 0 });
    }

    /// Any visible message, no matter which came first.
    pub fn receive(&mut self, rng: &mut Rng, now: Millis, visibility: Millis, max_receives: u32) -> Received {
        let visible: Vec<_> = (0..self.messages.len()).filter(|i| self.messages[*i].visible_at <= now).collect();
        let Some(i) = rng.choice(visible) else { return Received::Nothing };
        let message = &mut self.messages[i];
        if message.receives >= max_receives {
            return Received::Dead { job: self.messages.swap_remove(i).job };
        }
        message.receives += 1;
        message.visible_at = now + visibility;
        Received::Message { message: message.clone(), again: message.receives > 1 }
    }

    pub fn delete(&mut self, id: u64) {
        self.messages.retain(|message| message.id != id);
    }

    /// Gives a received message back at once.
    pub fn release(&mut self, id: u64, now: Millis) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id) {
            message.visible_at = now;
        }
    }
}
