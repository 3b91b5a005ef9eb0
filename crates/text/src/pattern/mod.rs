//! Regular expressions of tokenizer files, with Oniguruma's meaning and bounded work.
//!
//! Nearly all expressions that split text in published tokenizers run in linear time on a lazy automaton, whose steps
//! are counted. The others, which look around in ways that no automaton can, run by backtracking; what they may cost
//! at most is counted beforehand.

mod classes;
mod linear;
mod lookaround;
mod syntax;

use std::ops::Range;

use crate::budget::Budget;
use crate::error::{Result, TextError};
use linear::Linear;
use lookaround::Lookaround;

pub(crate) use classes::is_word;

/// Bytes that all expressions of one tokenizer may take.
const COMPILED_BYTES: u64 = 64 << 20;

/// Pays for what expressions of one tokenizer take.
pub(crate) fn compile_budget() -> Budget {
    Budget::new(COMPILED_BYTES)
}

/// Something that text is searched for.
pub(crate) enum Pattern {
    /// A text that is not empty.
    Literal(String),
    Linear(Box<Linear>),
    Lookaround(Box<Lookaround>),
}

impl Pattern {
    /// Compiles an expression, which tokenizer.json has in `part`.
    ///
    /// # Errors
    /// [`TextError::Json`] naming the expression and what about it is wrong, not supported or too large.
    pub(crate) fn expression(part: &str, text: &str, budget: &Budget) -> Result<Self> {
        let wrong = |reason: String| {
            let shown: String = text.chars().take(200).collect();
            TextError::json("tokenizer.json", format!("{part}: the expression {shown:?}: {reason}"))
        };
        let tree = syntax::parse(text, budget).map_err(wrong)?;
        match Linear::new(&tree, budget).map_err(wrong)? {
            Some(linear) => Ok(Self::Linear(Box::new(linear))),
            None => Ok(Self::Lookaround(Box::new(Lookaround::new(text, &tree, budget).map_err(wrong)?))),
        }
    }

    /// A text to search for; the empty one is between all characters.
    ///
    /// # Errors
    /// As [`Pattern::expression`].
    pub(crate) fn literal(part: &str, text: &str, budget: &Budget) -> Result<Self> {
        if text.is_empty() { Self::expression(part, "", budget) } else { Ok(Self::Literal(text.to_owned())) }
    }

    /// Gives all matches in `text`, from left to right. A match that is empty does not begin where another ends.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`], [`TextError::Encode`] where backtracking goes on too long, and those of `each`.
    pub(crate) fn find_all(
        &self,
        text: &str,
        budget: &Budget,
        each: &mut dyn FnMut(Range<usize>) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Literal(literal) => {
                budget.charge(text.len() as u64)?;
                text.match_indices(literal.as_str()).try_for_each(|(at, found)| each(at..at + found.len()))
            }
            Self::Linear(linear) => {
                linear.with_cache(|cache| find_all(text, &mut |at| linear.match_at(cache, text, at, budget), each))
            }
            Self::Lookaround(lookaround) => {
                lookaround.pay(text, budget)?;
                find_all(text, &mut |at| lookaround.match_at(text, at), each)
            }
        }
    }
}

/// Gives the matches that `match_at` finds at one place, at all of them.
fn find_all(
    text: &str,
    match_at: &mut dyn FnMut(usize) -> Result<Option<usize>>,
    each: &mut dyn FnMut(Range<usize>) -> Result<()>,
) -> Result<()> {
    let mut at = 0;
    let mut last_end = None;
    while at <= text.len() {
        let found = match_at(at)?.filter(|&end| end > at || last_end != Some(end));
        if let Some(end) = found {
            each(at..end)?;
            last_end = Some(end);
        }
        at = match found {
            Some(end) if end > at => end,
            _ => at + text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
