//! The regular expressions of tokenizer files, with Oniguruma's semantics and bounded work.
//!
//! Nearly all split expressions of published tokenizers run in linear time on a lazy automaton, whose steps are
//! counted. The others have lookaround that no automaton can express. They run by backtracking, and their worst-case
//! cost is charged in advance.

mod brackets;
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

/// The number of bytes that all expressions of a tokenizer may take.
const COMPILED_BYTES: u64 = 64 << 20;

/// Creates the budget for the expressions of a tokenizer.
pub(crate) fn compile_budget() -> Budget {
    Budget::new(COMPILED_BYTES)
}

/// A pattern to search for.
pub(crate) enum Pattern {
    /// A text that is not empty.
    Literal(String),
    Linear(Box<Linear>),
    Lookaround(Box<Lookaround>),
}

impl Pattern {
    /// Compiles an expression. `part` is its place in tokenizer.json.
    ///
    /// # Errors
    /// [`TextError::Json`] with the expression and the reason, if it is invalid, not supported or too large.
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

    /// Makes a pattern of a literal text. The empty text matches between all characters.
    ///
    /// # Errors
    /// The errors of [`Pattern::expression`].
    pub(crate) fn literal(part: &str, text: &str, budget: &Budget) -> Result<Self> {
        if text.is_empty() { Self::expression(part, "", budget) } else { Ok(Self::Literal(text.to_owned())) }
    }

    /// Passes all matches in `text` to `each`, from left to right. An empty match does not begin at the end of another
    /// match.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`], [`TextError::Encode`] if backtracking takes too long, and the errors of `each`.
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

/// Passes all matches to `each`. `match_at` returns the match at a position.
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
