//! Tuning of a compressed model, end to end: the stage `tune` at the end of a recipe.

mod figures;
#[cfg(feature = "tune")]
mod numbers;
#[cfg(feature = "tune")]
mod run;

use serde::{Deserialize, Serialize};

use crate::{Calibration, CompressError};

pub use figures::TuneFigures;
pub(crate) use figures::load;
#[cfg(feature = "tune")]
pub(crate) use run::{Input, run};

/// The work of training after all layers.
pub const TUNE: &str = "tune";

/// The largest share of the samples that is held out, as a divisor.
const HELD_OUT_SHARE: usize = 4;

/// The settings of tuning: training of the scales, minimums and norm gains of a compressed model. Codes stay.
///
/// Each step computes the divergence of the model's next-token distributions from the original's on some samples, over the
/// whole vocabulary, and moves every number relative to its size with AdamW. Numbers are rounded to their storage type in every
/// forward pass, so what is measured is what is written. Samples at the end of the calibration text are held out from all other
/// stages; the state with the lowest divergence on them is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tune {
    /// The largest number of steps.
    pub steps: u32,
    /// The number of samples per step.
    pub samples: usize,
    /// The learning rate, relative to each number.
    pub rate: f32,
    /// The norm to which the gradients of a step are clipped.
    pub clip: f64,
    /// The number of samples that are held out, at most a quarter of all.
    pub held_out: usize,
    /// The number of steps between two measurements on the held-out samples.
    pub every: u32,
    /// The number of measurements without a new lowest value after which tuning ends.
    pub patience: u32,
}

impl Default for Tune {
    fn default() -> Self {
        Self { steps: 96, samples: 4, rate: 5e-4, clip: 1.0, held_out: 16, every: 8, patience: 4 }
    }
}

impl Tune {
    /// Checks the settings.
    ///
    /// # Errors
    /// A description of the setting that is out of range.
    pub fn check(&self) -> Result<(), String> {
        let counts = [
            ("steps", self.steps as usize),
            ("samples", self.samples),
            ("held_out", self.held_out),
            ("every", self.every as usize),
            ("patience", self.patience as usize),
        ];
        if let Some((name, value)) = counts.into_iter().find(|(_, value)| !(1..=1_000_000).contains(value)) {
            return Err(format!("{name} {value}: expected 1 to 1000000"));
        }
        match (self.rate, self.clip) {
            (rate, _) if !(rate > 0.0 && rate <= 0.1) => Err(format!("rate {rate}: expected more than 0, at most 0.1")),
            (_, clip) if !(clip > 0.0 && clip.is_finite()) => Err(format!("clip {clip}: expected a number above 0")),
            _ => Ok(()),
        }
    }

    /// Splits a calibration text into the samples of all stages and those that are held out.
    ///
    /// # Errors
    /// [`CompressError::Unsupported`] for fewer than two samples.
    pub fn split(&self, calibration: &Calibration) -> Result<[Calibration; 2], CompressError> {
        let all = &calibration.samples;
        if all.len() < 2 {
            let found = all.len();
            let problem = format!("tuning holds samples out: found {found} calibration sample, expected at least 2");
            return Err(CompressError::Unsupported(problem));
        }
        let held_out = self.held_out.min(all.len() / HELD_OUT_SHARE).max(1);
        let (train, rest) = all.split_at(all.len() - held_out);
        Ok([train, rest].map(|samples| Calibration { samples: samples.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_text_is_held_out() {
        let text = |samples: u32| Calibration { samples: (0..samples).map(|i| vec![i]).collect() };
        let lengths = |tune: Tune, samples| {
            let [train, held_out] = tune.split(&text(samples)).expect("enough samples");
            assert_eq!([train.samples.clone(), held_out.samples.clone()].concat(), text(samples).samples);
            [train.samples.len(), held_out.samples.len()]
        };
        assert_eq!(lengths(Tune::default(), 256), [240, 16]);
        assert_eq!(lengths(Tune::default(), 20), [15, 5]);
        assert_eq!(lengths(Tune::default(), 2), [1, 1]);
        assert!(Tune::default().split(&text(1)).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (tune, name) in [
            (Tune { steps: 0, ..Tune::default() }, "steps 0"),
            (Tune { every: 0, ..Tune::default() }, "every 0"),
            (Tune { rate: f32::NAN, ..Tune::default() }, "rate NaN"),
            (Tune { rate: 1.0, ..Tune::default() }, "rate 1"),
            (Tune { clip: 0.0, ..Tune::default() }, "clip 0"),
        ] {
            let problem = tune.check().expect_err(name);
            assert!(problem.starts_with(name), "{problem}");
        }
        assert_eq!(Tune::default().check(), Ok(()));
    }
}
