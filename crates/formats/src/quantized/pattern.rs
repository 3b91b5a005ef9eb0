//! Regular expressions in quantisation settings, which match module names as Python's `re.match` does.

use std::fmt;

use fancy_regex::{Regex, RegexBuilder};

use crate::FormatError;

/// The bytes that all compiled expressions of a file may take.
const COMPILED_BYTES: usize = 32 << 20;
/// The bytes that one compiled expression may take, tried in this order. The size of an expression is known only by the
/// smallest limit that it fits.
const SIZES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// The longest expression, and the longest name that is matched, in bytes.
const MAX_BYTES: usize = 4096;
/// The backtracking steps that a match may take, for expressions that a finite automaton cannot match.
const BACKTRACKS: usize = 20_000;

/// Compiles the expressions of one file within a limit on their total size.
pub(crate) struct Patterns {
    left: usize,
}

impl Patterns {
    /// Returns a compiler with the whole limit left.
    pub(crate) fn new() -> Self {
        Self { left: COMPILED_BYTES }
    }

    /// Compiles `text`, the content of `field` in `file`.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`] for an invalid expression, or one that is too large.
    pub(crate) fn compile(&mut self, file: &str, field: &str, text: &str) -> Result<Pattern, FormatError> {
        let wrong = |expected| FormatError::InvalidQuantization {
            file: file.to_owned(),
            field: field.to_owned(),
            found: crate::error::shown(text),
            expected,
        };
        if text.len() > MAX_BYTES {
            return Err(wrong("a regular expression of at most 4096 bytes"));
        }
        let source = format!(r"\A(?:{text})");
        // An expression with look-around is compiled in parts, each of which may take the whole size.
        let parts = 1 + text.matches("(?").count();
        let mut failed = "a regular expression";
        for size in SIZES {
            if size * parts > self.left {
                failed = "regular expressions that take at most 32 MiB together";
                break;
            }
            let built = RegexBuilder::new(&source)
                .backtrack_limit(BACKTRACKS)
                .delegate_size_limit(size)
                .delegate_dfa_size_limit(size)
                .build();
            match built {
                Ok(regex) => {
                    self.left -= size * parts;
                    return Ok(Pattern { text: text.to_owned(), regex });
                }
                Err(fancy_regex::Error::ParseError(..)) => break,
                Err(_) => {}
            }
        }
        Err(wrong(failed))
    }
}

/// An expression that must match from the start of a name, but not up to its end.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Returns `true` if the expression matches, or `None` if matching takes too long.
    pub(crate) fn matches(&self, name: &str) -> Option<bool> {
        if name.len() > MAX_BYTES { None } else { self.regex.is_match(name).ok() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> Option<bool> {
        Patterns::new().compile("config.json", "dynamic", pattern).expect("valid").matches(name)
    }

    #[test]
    fn matches_from_the_start_only_like_re_match() {
        assert_eq!(matches("model", "model.layers.0.mlp"), Some(true));
        assert_eq!(matches("layers", "model.layers.0.mlp"), Some(false));
        assert_eq!(matches(r".*\.(0|1)\.mlp$", "model.layers.1.mlp"), Some(true));
        assert_eq!(matches("a|b", "cb"), Some(false));
        assert_eq!(matches(r".*layers\.(?!0\.).*", "model.layers.0.mlp"), Some(false));
    }

    #[test]
    fn refuses_broken_and_endless_expressions() {
        let compile = |text: &str| Patterns::new().compile("f", "dynamic", text);
        assert_eq!(compile("(").expect_err("broken").code(), "invalid-quantization-config");
        assert!(compile("((((a{999}){999}){999}){999}){999}").is_err());
        assert!(compile(&"a".repeat(MAX_BYTES + 1)).is_err());
        assert_eq!(matches(r"(a*)*\1b", &"a".repeat(60)), None);
        assert_eq!(matches("a", &"a".repeat(MAX_BYTES + 1)), None);
    }

    #[test]
    fn many_expressions_share_what_they_may_take() {
        let mut patterns = Patterns::new();
        for layer in 0..300 {
            let text = format!(r".*\.layers\.{layer}\.mlp\.(up|gate)_proj.*");
            patterns.compile("f", "dynamic", &text).expect("as in published checkpoints");
        }
        let mut patterns = Patterns { left: 1 << 20 };
        let mut compile = |_| patterns.compile("f", "dynamic", r"\w{12}x").err();
        let error = (0..100).find_map(&mut compile).expect("used up");
        assert!(error.to_string().contains("32 MiB together"), "{error}");
    }
}
