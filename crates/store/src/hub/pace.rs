//! The lowest rate at which a body may arrive.

use std::io::{Error, ErrorKind, Read, Result};
use std::time::{Duration, Instant};

use super::Patience;

/// A body whose reads fail once it arrives too slowly, so that a server that sends single bytes cannot hold up a pull
/// forever.
pub(crate) struct Paced {
    body: Box<dyn Read>,
    patience: Patience,
    /// The time spent waiting in the current window.
    waited: Duration,
    /// The bytes received in the current window.
    received: u64,
}

impl Paced {
    pub fn new(body: Box<dyn Read>, patience: Patience) -> Self {
        Self { body, patience, waited: Duration::ZERO, received: 0 }
    }
}

impl Read for Paced {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let begun = Instant::now();
        let n = self.body.read(into)?;
        self.waited += begun.elapsed();
        self.received += n as u64;
        if n > 0 && self.waited >= self.patience.window {
            if self.received < self.patience.least_progress() {
                let Patience { slowest, window, .. } = self.patience;
                let problem = format!("less than {slowest} bytes per second over {:.0} s", window.as_secs_f64());
                return Err(Error::new(ErrorKind::TimedOut, problem));
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one byte at a time, after a pause.
    struct Drip(Duration);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            std::thread::sleep(self.0);
            into[0] = 1;
            Ok(1)
        }
    }

    #[test]
    fn only_time_spent_waiting_counts() {
        let patience = Patience { slowest: 1000, window: Duration::from_millis(20), ..Patience::default() };
        let mut slow = Paced::new(Box::new(Drip(Duration::from_millis(4))), patience);
        let error = std::iter::repeat_with(|| slow.read(&mut [0; 8])).find_map(Result::err).expect("too slow");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let mut fast = Paced::new(Box::new(Drip(Duration::ZERO)), patience);
        for _ in 0..15 {
            fast.read_exact(&mut [0; 8]).expect("only the reader is slow");
            std::thread::sleep(Duration::from_millis(2));
        }
        let unhurried = Patience { slowest: 0, ..patience };
        let mut slow = Paced::new(Box::new(Drip(Duration::from_millis(4))), unhurried);
        (0..10).for_each(|_| slow.read_exact(&mut [0; 8]).expect("any rate is allowed"));
    }
}
