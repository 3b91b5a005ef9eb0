//! The parts on their way to a client.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::job::Part;

/// The parts of a job that wait for room in its channel. Neighbouring texts are joined, so that a slow client gets fewer
/// and longer parts.
pub(super) struct Outbox {
    /// `None` once the client is gone.
    sender: Option<Sender<Part>>,
    waiting: VecDeque<Part>,
    /// `true` if no further parts are accepted.
    closed: bool,
    /// The time since which no part could be sent.
    blocked: Option<Instant>,
    patience: Duration,
}

impl Outbox {
    pub fn new(sender: Sender<Part>, patience: Duration) -> Self {
        Self { sender: Some(sender), waiting: VecDeque::new(), closed: false, blocked: None, patience }
    }

    /// Sends a part, or keeps it until there is room.
    pub fn push(&mut self, part: Part) {
        if self.closed || self.sender.is_none() {
            return;
        }
        let rest = match self.waiting.back_mut() {
            Some(last) => last.append(part),
            None => Some(part),
        };
        self.waiting.extend(rest);
        self.flush();
    }

    /// Sends as many parts as there is room for.
    pub fn flush(&mut self) {
        let Some(sender) = &self.sender else { return };
        while let Some(part) = self.waiting.pop_front() {
            match sender.try_send(part) {
                Ok(()) => self.blocked = None,
                Err(TrySendError::Full(part)) => {
                    self.waiting.push_front(part);
                    self.blocked.get_or_insert_with(Instant::now);
                    return;
                }
                Err(TrySendError::Closed(_)) => {
                    self.sender = None;
                    self.waiting.clear();
                    return;
                }
            }
        }
    }

    /// Returns `true` if the client is gone or has read nothing for too long.
    pub fn is_lost(&self) -> bool {
        let late = self.blocked.is_some_and(|since| since.elapsed() > self.patience);
        late || self.sender.as_ref().is_none_or(Sender::is_closed)
    }

    /// Returns `true` if every part has been sent.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Accepts no further parts. Those that wait are still sent.
    pub fn close(&mut self) {
        self.closed = true;
    }
}
