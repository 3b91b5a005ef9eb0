//! Pruning and distillation with the settings of a recipe and the texts of the job.

use std::path::Path;

use honelm_compress::{HealStep, PruneStep};

use crate::optimize::OptimizeOptions;
use crate::{Error, Events, PruneOptions, TextSource};

/// Writes the pruned model into the folder `out`.
pub(super) fn prune(
    model: &Path,
    settings: &PruneStep,
    options: &OptimizeOptions,
    out: &Path,
    events: Events<'_>,
) -> Result<(), Error> {
    let PruneStep { heads, ffn, layers, restore } = *settings;
    let options = PruneOptions {
        heads,
        ffn,
        layers,
        restore,
        calibration: text(options),
        calibration_samples: options.calibration_samples,
        calibration_length: options.calibration_length,
        // The gate of the job judges the folder.
        text: None,
        run: options.run.clone(),
        ..PruneOptions::new(model, out)
    };
    crate::prune(&options, events).map(drop)
}

/// Trains the model in `student` against the outputs of `model`, and writes it into the folder `out`.
#[cfg(feature = "tune")]
pub(super) fn heal(
    model: &Path,
    student: &Path,
    settings: &HealStep,
    options: &OptimizeOptions,
    out: &Path,
    events: Events<'_>,
) -> Result<(), Error> {
    use crate::{DistilOptions, Student};
    let options = DistilOptions {
        text: text(options),
        samples: options.calibration_samples,
        length: options.calibration_length,
        steps: settings.steps,
        batch: settings.samples,
        rate: settings.rate,
        run: options.run.clone(),
        ..DistilOptions::default()
    };
    crate::distil(model, &Student::Model(student.to_owned()), &options, out, events).map(drop)
}

/// Refuses to train: this build cannot.
#[cfg(not(feature = "tune"))]
pub(super) fn heal(
    _model: &Path,
    _student: &Path,
    _settings: &HealStep,
    _options: &OptimizeOptions,
    _out: &Path,
    _events: Events<'_>,
) -> Result<(), Error> {
    Err(Error::Usage("the step heal trains: found a build of the program without the feature `tune`".to_owned()))
}

/// Returns the calibration text of the job.
fn text(options: &OptimizeOptions) -> TextSource {
    options.calibrations.first().cloned().unwrap_or_default()
}
