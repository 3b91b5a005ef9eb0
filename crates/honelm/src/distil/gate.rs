//! The judgement of the written student against the teacher.

use std::path::Path;

use honelm_eval::{EvalError, MAX_OVERLAP, Protocol, figures, overlap};
use honelm_model::Checkpoint;
use honelm_text::Tokenizer;

use super::options::{DistilGate, DistilOptions};
use crate::device::load;
use crate::measure::{Heldout, Measured, Original, context_of};
use crate::optimize::{Findings, Quality};
use crate::{Error, Event, Events};

impl DistilGate {
    /// Reads the text of the gate; `None` without limits.
    ///
    /// # Errors
    /// An invalid text, one that overlaps the training text, a limit that makes no sense.
    pub(super) fn read(
        &self,
        options: &DistilOptions,
        (teacher, tokenizer): (&Checkpoint, &Tokenizer),
        samples: &[Vec<u32>],
        events: Events<'_>,
    ) -> Result<Option<Heldout>, Error> {
        if !self.judges() {
            return Ok(None);
        }
        if let Some(kl) = self.max_kl.filter(|kl| !(kl.is_finite() && *kl >= 0.0)) {
            return Err(Error::Usage(format!("--max-kl: found {kl}, expected a number of at least 0")));
        }
        let how = (self.protocol.unwrap_or(Protocol::LlamaCpp(512)), None);
        let text = Heldout::read(&self.text, teacher, tokenizer, how, context_of(teacher, &options.run))?;
        let share = overlap(samples.iter().map(Vec::as_slice), &text.chunked.tokens);
        if share > MAX_OVERLAP {
            return Err(EvalError::Overlap { share }.into());
        }
        for warning in &text.warnings {
            events(&Event::Warning(warning));
        }
        Ok(Some(text))
    }

    /// Compares the student at `path`, reloaded from its files, with the teacher.
    pub(super) fn judge(
        &self,
        options: &DistilOptions,
        (teacher, path): (&Path, &Path),
        text: &Heldout,
        events: Events<'_>,
    ) -> Result<(Findings, Quality), Error> {
        let run = options.run.steady();
        let student = Checkpoint::open(path)?;
        let place = (self.cache.as_ref(), path.parent());
        let Measured { mut original, baseline, _home, .. } =
            Original::measure(teacher, &student, &text.chunked, None, place, &run, &mut *events)?;
        let mut runner = load(&student, &run, &mut *events)?;
        let chunks = &text.chunked.chunks;
        let compared = original.compare(&baseline, &mut runner, chunks, "student: scoring", None, events)?;
        original.check_unchanged()?;
        student.check_files()?;
        let found = figures(&compared);
        let mut findings = Findings::default();
        findings.text(&text.name, &found, self.budget, self.max_kl);
        Ok((findings, Quality::from(&found)))
    }
}
