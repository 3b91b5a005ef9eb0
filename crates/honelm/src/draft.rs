//! Opens draft models.

use std::path::Path;

use honelm_model::{Model, Runner};
use honelm_text::Tokenizer;

use crate::device::{load, load_on};
use crate::open::{open, tokenizer_of};
use crate::{Error, Events, RunOptions};

/// Opens and loads the draft model of `target`. It shares the CPU's threads with it; a GPU is opened a second time, because the
/// draft model may need other kernels. Its context is that of the target, or its own if that is shorter.
///
/// # Errors
/// As for any model.
pub(crate) fn open_draft(
    path: &Path,
    target: &Model,
    run: &RunOptions,
    events: Events<'_>,
) -> Result<(Model, Tokenizer), Error> {
    let own = RunOptions { context: None, ..run.clone() };
    let checkpoint = open(path, &own, &mut *events)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let run = RunOptions { context: Some(target.context().min(checkpoint.facts().context)), ..own };
    let model = if target.is_batch_invariant() {
        load_on(target.device().clone(), &checkpoint, &run, events)?
    } else {
        load(&checkpoint, &run, events)?
    };
    checkpoint.check_unchanged()?;
    Ok((model, tokenizer))
}
