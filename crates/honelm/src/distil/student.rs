//! The model that learns: its first weights, and what it must share with the teacher.

use std::path::{Path, PathBuf};

use honelm_blocks::Encoding;
use honelm_formats::read_json;
use honelm_model::{Checkpoint, ModelError, Parameter, Parameters, Slot, StoredEncoding};
use honelm_text::Tokenizer;
use honelm_train::Initial;

use super::options::{FLOATS, Student};
use crate::open::{open, tokenizer_of};
use crate::{Error, Events, RunOptions};

/// The standard deviation of random weights where the configuration names none.
const DEVIATION: f64 = 0.02;

/// An opened student.
pub(super) struct Opened {
    pub checkpoint: Checkpoint,
    /// The seed and the standard deviation of random weights; `None` where the checkpoint has weights.
    random: Option<(u64, f32)>,
    /// The tokenizer, if it has one of its own.
    tokenizer: Option<Tokenizer>,
    path: PathBuf,
}

impl Opened {
    /// Opens a student.
    pub(super) fn new(student: &Student, run: &RunOptions, events: Events<'_>) -> Result<Self, Error> {
        let (path, seed) = match student {
            Student::Model(path) => {
                let checkpoint = open(path, run, events)?;
                let tokenizer = Some(tokenizer_of(&checkpoint)?);
                return Ok(Self { checkpoint, random: None, tokenizer, path: path.clone() });
            }
            Student::Config { path, seed } => (path, *seed),
        };
        let missing = || {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            Error::Io { path: path.clone(), source }
        };
        let config = read_json(path)?.ok_or_else(missing)?;
        let deviation = config.get("initializer_range").map_or(Some(DEVIATION), serde_json::Value::as_f64);
        let deviation = deviation.filter(|found| *found > 0.0 && *found <= 1.0).ok_or_else(|| Error::Text {
            path: path.display().to_string(),
            problem: format!(
                "`initializer_range`: found {}, expected a number above 0, at most 1",
                config["initializer_range"]
            ),
        })?;
        let checkpoint = Checkpoint::made_up(&path.display().to_string(), &config, Encoding::F32, seed)?;
        Ok(Self { checkpoint, random: Some((seed, deviation as f32)), tokenizer: None, path: path.clone() })
    }

    /// Returns the path that the user gave.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns `true` if the student has files of its own, such as those of a tokenizer.
    pub(super) fn has_files(&self) -> bool {
        self.random.is_none()
    }

    /// Returns what the weights depend on beside the files of the checkpoint.
    pub(super) fn describe(&self) -> String {
        match self.random {
            Some(random) => format!("{random:?} {}", self.checkpoint.config_json()),
            None => String::new(),
        }
    }

    /// Returns the weights before training.
    pub(super) fn weights(&self) -> First<'_> {
        match self.random {
            Some((seed, deviation)) => {
                First::Random(Initial { blueprint: self.checkpoint.blueprint(), seed, deviation })
            }
            None => First::Stored(&self.checkpoint),
        }
    }

    /// Returns the number type of the written weights.
    pub(super) fn dtype(&self, wanted: Option<Encoding>) -> Result<Encoding, Error> {
        let embedding = Slot { layer: None, module: self.checkpoint.tree().embedding().name };
        let own = match self.checkpoint.encoding(embedding)? {
            StoredEncoding::Blocks(encoding) if FLOATS.contains(&encoding) => encoding,
            _ => Encoding::F16,
        };
        Ok(wanted.unwrap_or(own))
    }

    /// Checks that the student can learn from the teacher.
    ///
    /// # Errors
    /// [`Error::Usage`] for another vocabulary, and for a student that is wider than its teacher.
    pub(super) fn check(&self, teacher: &Checkpoint, tokenizer: &Tokenizer) -> Result<(), Error> {
        self.checkpoint.facts().check_generates()?;
        teacher.facts().check_generates()?;
        let problem = |text: String| Err(Error::Usage(format!("{}: {text}", self.path.display())));
        let advice = "a student learns from a teacher with the same tokens: use a teacher of its own family, prune the teacher \
                      (`honelm prune`), or begin from a configuration with the teacher's `vocab_size` (--config FILE)";
        let [own, other] = [&self.checkpoint, teacher].map(|model| model.facts().vocabulary);
        if own != other {
            return problem(format!("the vocabulary: found {own} tokens, expected the teacher's {other}; {advice}"));
        }
        let mut ids = 0..tokenizer.vocab_size().min(other) as u32;
        if let Some(mine) = &self.tokenizer
            && let Some(id) = ids.find(|&id| mine.token(id) != tokenizer.token(id))
        {
            let shown = |token: Option<&str>| token.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
            let (found, expected) = (shown(mine.token(id)), shown(tokenizer.token(id)));
            return problem(format!("token {id}: found {found}, expected the teacher's {expected}; {advice}"));
        }
        let [own, other] = [&self.checkpoint, teacher].map(|model| model.facts().width);
        if own > other {
            return problem(format!(
                "the width of the hidden states: found {own}, expected at most the teacher's {other}; a student is not larger \
                 than its teacher"
            ));
        }
        Ok(())
    }
}

/// The weights before training.
pub(super) enum First<'a> {
    Stored(&'a Checkpoint),
    Random(Initial<'a>),
}

impl Parameters for First<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        match self {
            Self::Stored(checkpoint) => checkpoint.parameter(slot),
            Self::Random(initial) => initial.parameter(slot),
        }
    }

    fn forget(&self) {
        if let Self::Stored(checkpoint) = self {
            checkpoint.forget();
        }
    }
}
