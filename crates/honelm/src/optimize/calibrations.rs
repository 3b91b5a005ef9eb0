//! Several calibration texts: each is tried on one half of the held-out text, and the best one is taken.

use std::fs;

use honelm_eval::figures;
use honelm_model::Checkpoint;
use serde::{Deserialize, Serialize};

use super::candidate::slug;
use super::state::Job;
use super::tables::{Column, Table, column};
use super::{Candidate, OptimizeOptions, Report};
use crate::device::load;
use crate::measure::{Lazy, Original, States};
use crate::{Error, Events};

/// The choice among several calibration texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationChoice {
    /// The name of the candidate that was made with each text.
    pub candidate: String,
    /// The number of chunks of the held-out text that chose. The gate does not see them.
    pub chunks: usize,
    /// The texts in the order in which they were given.
    pub trials: Vec<CalibrationTrial>,
}

/// A calibration text that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationTrial {
    /// The file name, or `shipped`.
    pub name: String,
    /// The SHA-256 digest of the text.
    pub sha256: String,
    /// The number of tokens used.
    pub tokens: usize,
    /// The mean KL divergence from the original, in nats.
    pub kl_divergence: f64,
    /// Its standard error over chunks; `None` if there are too few of them.
    pub kl_divergence_stderr: Option<f64>,
    /// The perplexity minus the original's.
    pub perplexity_difference: f64,
    /// `true` for the text that was taken.
    pub taken: bool,
}

const COLUMNS: [Column; 5] = [
    column("calibration", "A calibration text."),
    column("tokens", "The number of its tokens that were used."),
    column("KL", "The mean KL divergence with this text on the half of the held-out text that chooses, in nats."),
    column("± KL", "The standard error of the divergence."),
    column("difference", "The perplexity with this text minus the original's, on that half."),
];

impl CalibrationChoice {
    /// Returns a row per text.
    #[must_use]
    pub fn table(&self) -> Table {
        let row = |trial: &CalibrationTrial| {
            vec![
                trial.name.clone(),
                trial.tokens.to_string(),
                format!("{:.4}", trial.kl_divergence),
                trial.kl_divergence_stderr.map_or_else(|| "-".to_owned(), |error| format!("{error:.4}")),
                format!("{:+.3}", trial.perplexity_difference),
            ]
        };
        Table { columns: &COLUMNS, rows: self.trials.iter().map(row).collect() }
    }

    /// Returns the text that was taken, and the reason, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Some(taken) = self.trials.iter().find(|trial| trial.taken) else { return String::new() };
        let others = self.trials.iter().filter(|trial| !trial.taken);
        let Some(next) = others.min_by(|a, b| a.kl_divergence.total_cmp(&b.kl_divergence)) else {
            return String::new();
        };
        let spread = taken.kl_divergence_stderr.unwrap_or(0.0).hypot(next.kl_divergence_stderr.unwrap_or(0.0));
        let doubt = match next.kl_divergence - taken.kl_divergence <= spread {
            true => "; the difference is within the noise",
            false => "",
        };
        format!(
            "{} is the calibration text: {} made with it has a KL divergence of {:.4} nats on {} chunks of the held-out \
             text, with {} it has {:.4}{doubt}. The gate judges on the other chunks.",
            taken.name, self.candidate, taken.kl_divergence, self.chunks, next.name, next.kl_divergence
        )
    }
}

impl Report {
    /// Returns the table of the calibration texts that were tried, and the reason for the choice.
    #[must_use]
    pub fn calibration_table(&self) -> Option<(Table, String)> {
        let choice = self.calibrations.as_ref()?;
        Some((choice.table(), choice.sentence()))
    }
}

/// Returns `true` if a choice among calibration texts is asked for, which takes one half of the held-out text.
pub(super) fn are_tried(options: &OptimizeOptions) -> bool {
    options.calibrations.len() > 1
}

impl Job<'_> {
    /// Tries every calibration text on the smallest candidate, and takes the one with the lowest divergence for the rest of
    /// the job. `None` if there is one text.
    ///
    /// # Errors
    /// [`Error::Usage`] if no candidate uses a calibration text.
    pub(super) fn choose_calibration(&mut self, events: Events<'_>) -> Result<Option<CalibrationChoice>, Error> {
        if !are_tried(self.options) {
            return Ok(None);
        }
        let users = self.candidates.iter().filter(|candidate| candidate.scheme.recipe.needs_calibration());
        let Some(candidate) = users.min_by_key(|candidate| candidate.bits) else {
            let found = self.plan.calibrations.len();
            let problem = format!("--calibration: found {found} texts, but no recipe uses a calibration text");
            return Err(Error::Usage(problem));
        };
        let mut trials = Vec::new();
        for at in 0..self.plan.calibrations.len() {
            self.calibration = at;
            trials.push(self.try_calibration(candidate, at, events)?);
        }
        let lowest = (0..trials.len()).min_by(|&a, &b| trials[a].kl_divergence.total_cmp(&trials[b].kl_divergence));
        self.calibration = lowest.unwrap_or(0);
        let taken = self.calibration;
        for (at, trial) in trials.iter_mut().enumerate() {
            trial.taken = at == taken;
            if !trial.taken {
                self.calibration = at;
                self.layers(candidate).clear()?;
            }
        }
        self.calibration = taken;
        Ok(Some(CalibrationChoice { candidate: candidate.name.clone(), chunks: self.plan.search.len(), trials }))
    }

    /// Makes a candidate with the calibration text in use, and compares it with the original on the half that chooses.
    fn try_calibration(
        &mut self,
        candidate: &Candidate,
        at: usize,
        events: Events<'_>,
    ) -> Result<CalibrationTrial, Error> {
        let entry = format!("calibration-{at}");
        if let Some(trial) = self.saved(&entry)? {
            return Ok(trial);
        }
        let name = self.plan.calibrations[at].card.name.clone();
        let folder = self.folder.work("calibrations");
        fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
        let suffix = if candidate.container.groups.is_some() { "" } else { ".gguf" };
        let file = folder.join(format!("{at}-{}{suffix}", slug(&candidate.name)));
        let stage = format!("{} by {name}", candidate.name);
        self.make(candidate, &file, &stage, &mut *events)?;
        let reloaded = Checkpoint::open(&file)?;
        let (run, chunks) = (&self.options.run, &self.plan.search);
        let journal = honelm_store::Journal::new(&self.folder.work("search-states"), &self.plan.card.key);
        let states = States::new(journal, self.checkpoint);
        let baseline = Original::score(&mut Lazy::new(self.checkpoint, run), chunks, states, &mut *events)?;
        let mut original = Original::new(self.checkpoint, run)?;
        let mut runner = load(&reloaded, run, &mut *events)?;
        let stage = format!("{stage}: scoring");
        let found = figures(&original.compare(&baseline, &mut runner, chunks, &stage, None, events)?);
        reloaded.check_files()?;
        self.checkpoint.check_unchanged()?;
        let card = &self.plan.calibrations[at].card;
        let trial = CalibrationTrial {
            name,
            sha256: card.sha256.clone(),
            tokens: card.tokens,
            kl_divergence: found.kl_divergence,
            kl_divergence_stderr: found.kl_divergence_stderr,
            perplexity_difference: found.perplexity_difference,
            taken: false,
        };
        let trial = self.save(&entry, &trial)?;
        self.folder.remove(&file)?;
        Ok(trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_when_noise_could_have_chosen() {
        let trial = |name: &str, kl, taken| CalibrationTrial {
            name: name.to_owned(),
            sha256: String::new(),
            tokens: 100,
            kl_divergence: kl,
            kl_divergence_stderr: Some(0.001),
            perplexity_difference: 0.1,
            taken,
        };
        let choice = |kl| CalibrationChoice {
            candidate: "Q4_0".to_owned(),
            chunks: 40,
            trials: vec![trial("a", kl, false), trial("b", 0.01, true), trial("c", 1.0, false)],
        };
        let clear = choice(0.02).sentence();
        assert!(
            clear.starts_with("b is the calibration text: Q4_0 made with it has a KL divergence of 0.0100"),
            "{clear}"
        );
        assert!(clear.contains("40 chunks") && clear.contains("with a it has 0.0200. The gate"), "{clear}");
        assert!(choice(0.011).sentence().contains("0.0110; the difference is within the noise. The gate"));
        assert_eq!(choice(0.02).table().rows[1], ["b", "100", "0.0100", "0.0010", "+0.100"]);
    }
}
