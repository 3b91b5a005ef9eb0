//! The time that the parts of a job take.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The time that a part of a job took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// The name: `original: scoring`, `Q4_0: gptq`.
    pub name: String,
    /// The time in seconds, over all runs of the job.
    pub seconds: f64,
}

/// Times by name, in the order in which the names occurred first.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub stages: Vec<StageTime>,
    running: Option<(String, Instant)>,
}

impl Times {
    /// Continues with times of earlier runs.
    pub(crate) fn new(stages: Vec<StageTime>) -> Self {
        Self { stages, running: None }
    }

    /// Ends the part that runs, and begins another.
    pub(crate) fn begin(&mut self, name: &str) {
        self.end();
        self.running = Some((name.to_owned(), Instant::now()));
    }

    /// Ends the part that runs.
    pub(crate) fn end(&mut self) {
        if let Some((name, start)) = self.running.take() {
            self.add(&name, start.elapsed().as_secs_f64());
        }
    }

    /// Adds to the time of a part.
    pub(crate) fn add(&mut self, name: &str, seconds: f64) {
        match self.stages.iter_mut().find(|stage| stage.name == name) {
            Some(stage) => stage.seconds += seconds,
            None => self.stages.push(StageTime { name: name.to_owned(), seconds }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_one_name_add_up_and_keep_their_order() {
        let mut times = Times::new(vec![StageTime { name: "b".to_owned(), seconds: 1.0 }]);
        times.begin("a");
        times.begin("b");
        times.end();
        times.end();
        times.add("a", 5.0);
        let names: Vec<&str> = times.stages.iter().map(|stage| &*stage.name).collect();
        assert_eq!(names, ["b", "a"]);
        assert!(times.stages[0].seconds >= 1.0 && times.stages[1].seconds >= 5.0, "{times:?}");
    }
}
