//! An estimate of the time that a stage of work still takes.

use std::time::Duration;

/// The time before which no estimate is made.
const EARLIEST: Duration = Duration::from_secs(3);
/// The share of a stage that must be done before an estimate is made, unless [`PATIENCE`] has passed.
const SHARE: f64 = 0.05;
/// The time after which an estimate is made from less than [`SHARE`] of the stage.
const PATIENCE: Duration = Duration::from_secs(60);
/// The shortest time over which speeds are averaged.
const MEMORY: f64 = 30.0;

/// Estimates the time left of a stage from its finished and total steps.
///
/// The speed is an average in which a step counts the less, the longer ago it was finished. All times are given by the
/// caller, as durations since the stage began.
#[derive(Debug, Default)]
pub struct TimeLeft {
    /// The steps that were done when the stage began: work of an earlier run, which says nothing about the speed.
    first: u64,
    done: u64,
    total: u64,
    /// The time of the last finished step.
    last: Duration,
    /// Weighted seconds and steps.
    seconds: f64,
    steps: f64,
}

impl TimeLeft {
    /// Creates an estimate for a stage that begins with `done` of `total` steps finished.
    pub fn new(done: u64, total: u64) -> Self {
        Self { first: done, done, total, ..Self::default() }
    }

    /// Takes note of the steps that are finished at `now`.
    pub fn update(&mut self, now: Duration, done: u64, total: u64) {
        self.total = total;
        if done <= self.done {
            return;
        }
        let took = now.saturating_sub(self.last).as_secs_f64();
        // The longer a stage has run, the longer it remembers.
        let kept = (-took / (now.as_secs_f64() / 2.0).max(MEMORY)).exp();
        self.seconds = self.seconds * kept + took;
        self.steps = self.steps * kept + (done - self.done) as f64;
        (self.done, self.last) = (done, now);
    }

    /// Returns the time left at `now`, or `None` where too little is done to tell or nothing is left.
    pub fn left(&self, now: Duration) -> Option<Duration> {
        let finished = self.done - self.first;
        let rest = self.total.checked_sub(self.done).filter(|rest| *rest > 0)?;
        let share = finished as f64 / (self.total - self.first) as f64;
        if finished < 2 || now < EARLIEST || (share < SHARE && now < PATIENCE) {
            return None;
        }
        let waited = now.saturating_sub(self.last).as_secs_f64();
        // A step that takes longer than the others makes all that are left longer.
        let step = (self.seconds / self.steps).max((self.seconds + waited) / (self.steps + 1.0));
        let seconds = (step - waited).max(0.0) + step * (rest - 1) as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Describes a duration to the accuracy of an estimate: `about 40 s`, `about 4 min`, `about 2 h 10 min`.
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..5 => "a few seconds".to_owned(),
        5..55 => format!("about {} s", (seconds + 2) / 5 * 5),
        55..3570 => format!("about {minutes} min"),
        // Ten minutes are as close as hours of work can be told.
        _ => match (minutes + 5) / 10 * 10 {
            rounded if rounded % 60 == 0 => format!("about {} h", rounded / 60),
            rounded => format!("about {} h {} min", rounded / 60, rounded % 60),
        },
    }
}

/// Describes a duration that was measured: `1.25 s`, `4 min 5 s`.
pub fn taken(time: Duration) -> String {
    match time.as_secs() {
        0..60 => honelm::units::seconds(time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn nothing_is_said_before_enough_is_done() {
        let mut left = TimeLeft::new(0, 11);
        assert_eq!(left.left(at(0.0)), None);
        assert_eq!(left.left(at(1000.0)), None, "without a finished step there is no speed");
        left.update(at(20.0), 1, 11);
        assert_eq!(left.left(at(21.0)), None, "one step is no average");
        left.update(at(40.0), 2, 11);
        assert_eq!(left.left(at(40.0)), Some(at(180.0)));
        let mut many = TimeLeft::new(0, 1000);
        many.update(at(10.0), 10, 1000);
        assert_eq!(many.left(at(10.0)), None);
        many.update(at(50.0), 50, 1000);
        assert!(many.left(at(50.0)).is_some());
    }

    #[test]
    fn even_steps_count_down_without_a_jump() {
        let mut left = TimeLeft::new(0, 12);
        let mut told = f64::INFINITY;
        for tenth in 0..2400 {
            let now = at(f64::from(tenth) / 10.0);
            left.update(now, u64::from(tenth as u32) / 200, 12);
            if let Some(found) = left.left(now) {
                let (found, truth) = (found.as_secs_f64(), 240.0 - now.as_secs_f64());
                assert!((found - truth).abs() < 0.01 * 240.0, "{found} instead of {truth}");
                assert!(found <= told + 0.01, "{told} became {found}");
                told = found;
            }
        }
        assert!(told < 1.0);
    }

    #[test]
    fn work_of_an_earlier_run_is_no_speed() {
        let mut left = TimeLeft::new(90, 100);
        left.update(at(10.0), 91, 100);
        left.update(at(20.0), 92, 100);
        assert_eq!(left.left(at(20.0)), Some(at(80.0)));
    }

    #[test]
    fn a_change_of_speed_is_followed_and_a_slow_step_is_noticed() {
        let mut left = TimeLeft::new(0, 400);
        (1..=100).for_each(|i| left.update(at(i as f64), i, 400));
        (1..=100).for_each(|i| left.update(at(100.0 + 4.0 * i as f64), 100 + i, 400));
        let found = left.left(at(500.0)).expect("an estimate").as_secs_f64();
        assert!((600.0..=800.0).contains(&found), "{found}");
        let later = left.left(at(600.0)).expect("an estimate").as_secs_f64();
        assert!(later > found, "{later} after {found}");
    }

    #[test]
    fn nothing_is_left_of_a_finished_stage() {
        let mut left = TimeLeft::new(0, 4);
        (1..=4).for_each(|i| left.update(at(i as f64 * 5.0), i, 4));
        assert_eq!(left.left(at(20.0)), None);
    }

    #[test]
    fn durations_are_told_as_closely_as_they_are_known() {
        for (seconds, text) in [
            (2.0, "a few seconds"),
            (43.0, "about 45 s"),
            (58.0, "about 1 min"),
            (250.0, "about 4 min"),
            (7900.0, "about 2 h 10 min"),
            (3580.0, "about 1 h"),
        ] {
            assert_eq!(about(at(seconds)), text);
        }
        assert_eq!((taken(at(1.25)), taken(at(245.0))), ("1.25 s".to_owned(), "4 min 5 s".to_owned()));
    }
}
