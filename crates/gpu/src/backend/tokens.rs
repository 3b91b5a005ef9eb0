//! The ring of sampled tokens, from which later steps read tokens that the host has not seen.

use std::collections::VecDeque;

use honelm_backend::Ticket;

/// The number of steps whose sampled tokens a later step can refer to.
const STEPS: usize = 64;

/// The initial capacity of the ring, in tokens.
const TOKENS: u32 = 4096;

/// The slots of the ring, by step and row.
#[derive(Debug)]
pub(super) struct Tokens {
    capacity: u32,
    next: u32,
    steps: VecDeque<(Ticket, Vec<(u32, u32)>)>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { capacity: TOKENS, next: 0, steps: VecDeque::new() }
    }
}

impl Tokens {
    /// Returns the number of slots.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns `count` consecutive slots, none of which `current`, the step being recorded, already uses.
    pub(super) fn take(&mut self, count: u32, current: &[(u32, u32)]) -> u32 {
        let mut start = self.next;
        if start + count > self.capacity {
            start = 0;
        }
        let taken = |start: u32| current.iter().any(|(_, slot)| (start..start + count).contains(slot));
        if start + count > self.capacity || taken(start) {
            start = self.capacity;
            self.capacity += count.max(TOKENS);
        }
        self.next = start + count;
        for (_, rows) in &mut self.steps {
            rows.retain(|(_, slot)| !(start..start + count).contains(slot));
        }
        start
    }

    /// Ends the step that sampled these rows.
    pub(super) fn submit(&mut self, ticket: Ticket, sampled: Vec<(u32, u32)>) {
        if sampled.is_empty() {
            return;
        }
        if self.steps.len() == STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back((ticket, sampled));
    }

    /// Returns the slot of a row's token.
    pub(super) fn find(&self, ticket: Ticket, row: u32) -> Option<u32> {
        let (_, rows) = self.steps.iter().find(|(t, _)| *t == ticket)?;
        rows.iter().find(|(r, _)| *r == row).map(|(_, slot)| *slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_no_longer_found() {
        let mut tokens = Tokens::default();
        let first = tokens.take(TOKENS - 1, &[]);
        tokens.submit(Ticket(1), vec![(0, first), (7, first + 7)]);
        let second = tokens.take(3, &[]);
        assert_eq!((first, second), (0, 0), "three more do not fit behind the first");
        tokens.submit(Ticket(2), vec![(5, second)]);
        assert_eq!(tokens.find(Ticket(1), 0), None);
        assert_eq!(tokens.find(Ticket(1), 7), Some(7));
        assert_eq!(tokens.find(Ticket(2), 5), Some(0));
    }

    #[test]
    fn the_ring_grows_where_one_step_would_fill_it() {
        let mut tokens = Tokens::default();
        let first = tokens.take(TOKENS - 1, &[]);
        let current: Vec<(u32, u32)> = (0..TOKENS - 1).map(|i| (i, first + i)).collect();
        assert_eq!(tokens.take(3, &current), TOKENS);
        assert!(tokens.capacity() >= TOKENS + 3);
        let large = 3 * TOKENS;
        let start = tokens.take(large, &[]);
        assert!(start + large <= tokens.capacity());
    }
}
