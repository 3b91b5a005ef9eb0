//! The options about the gates of `optimize`, and about the cache of originals.

use std::path::PathBuf;

use clap::Args;
use honelm::optimize::Gates;
use honelm::{Budget, StatesCache, TextSource};

use super::tasks::TaskArguments;
use crate::failure::Failure;

/// The options about the gates.
#[derive(Debug, Clone, Args)]
pub struct GateArguments {
    /// Largest allowed increase in perplexity: a number, or a percentage of the original's such as 5% [default: 0.5; where a
    /// size is asked for, a model that exceeds it is published all the same]
    #[arg(long, value_name = "INCREASE", value_parser = budget, allow_negative_numbers = true)]
    budget: Option<Budget>,

    /// Largest allowed mean KL divergence from the original in nats, by its upper 95% bound
    #[arg(long, value_name = "NATS", value_parser = nats, allow_negative_numbers = true)]
    max_kl: Option<f64>,

    /// Largest allowed loss of accuracy on the tasks, in percent of the original's, by the lower 95% bound
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "tasks", allow_negative_numbers = true)]
    max_accuracy_loss: Option<f64>,

    /// Held-out text for the comparison, UTF-8 or JSON lines with `text` or `messages`; every text must hold if it is repeated
    /// [default: the shipped text]
    #[arg(long, value_name = "FILE")]
    text: Vec<PathBuf>,

    #[command(flatten)]
    tasks: TaskArguments,

    #[command(flatten)]
    cache: CacheArguments,
}

impl GateArguments {
    /// Returns the budget.
    pub fn budget(&self) -> Budget {
        self.budget.unwrap_or(Budget::Absolute(0.5))
    }

    /// Returns `true` if a gate was asked for.
    pub fn any(&self) -> bool {
        self.budget.is_some() || self.max_kl.is_some() || self.max_accuracy_loss.is_some()
    }

    /// Returns the first text, which the candidates are compared on.
    pub fn text(&self) -> TextSource {
        super::text_source(self.text.first().map(PathBuf::as_path))
    }

    /// Returns the gates beside the budget.
    pub fn gates(&self) -> Result<Gates, Failure> {
        Ok(Gates {
            max_kl: self.max_kl,
            texts: self.text.iter().skip(1).cloned().map(TextSource::File).collect(),
            tasks: self.tasks.read()?,
            max_accuracy_loss: self.max_accuracy_loss,
            cache: self.cache.cache(),
        })
    }
}

/// The option about the cache of originals.
#[derive(Debug, Clone, Copy, Args)]
pub struct CacheArguments {
    /// Score the original anew and keep nothing of it
    #[arg(long)]
    no_cache: bool,
}

impl CacheArguments {
    /// Returns the user's cache, unless it is switched off.
    pub fn cache(self) -> Option<StatesCache> {
        if self.no_cache { None } else { StatesCache::of_user() }
    }
}

/// The sentence about the cache after the options.
pub const CACHE_NOTE: &str = "The original's scores, hidden states and answers are kept in honelm/states of the user's cache folder \
                              (on Linux $XDG_CACHE_HOME or ~/.cache), so that it is scored once for any number of candidates. \
                              After a run the folder has at most 4 GB: what was not used for the longest time is removed. \
                              --no-cache keeps nothing.";

/// Parses a budget.
pub fn budget(text: &str) -> Result<Budget, String> {
    text.parse().map_err(|_| "expected a number such as 0.5, or a percentage such as 5%".to_owned())
}

/// Parses a divergence.
pub fn nats(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && *x >= 0.0)
        .ok_or_else(|| "expected a number of at least 0".to_owned())
}

/// Parses a percentage, with or without its sign.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse();
    number.ok().filter(|x| (0.0..=100.0).contains(x)).ok_or_else(|| "expected a percentage from 0% to 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_nonsense_is_refused() {
        assert_eq!((budget("0.5"), budget("5%")), (Ok(Budget::Absolute(0.5)), Ok(Budget::Relative(5.0))));
        assert_eq!((percent("3%"), percent("3"), percent("0")), (Ok(3.0), Ok(3.0), Ok(0.0)));
        assert_eq!(nats("0.02"), Ok(0.02));
        assert!(["", "%", "101%", "-1", "nan"].iter().all(|wrong| percent(wrong).is_err()));
        assert!(["", "-0.1", "inf", "nan"].iter().all(|wrong| nats(wrong).is_err()));
    }
}
