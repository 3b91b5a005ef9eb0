//! Regular expressions of quantisation settings, which name modules as Python's `re.match` does.

use std::fmt;

use fancy_regex::Regex;

use crate::FormatError;

/// An expression that has to match from the start of a name, not up to its end.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles `text`, which `file` has in `field`.
    pub(crate) fn new(file: &str, field: &str, text: &str) -> Result<Self, FormatError> {
        match Regex::new(&format!(r"\A(?:{text})")) {
            Ok(regex) => Ok(Self { text: text.to_owned(), regex }),
            Err(_) => Err(FormatError::InvalidQuantization {
                file: file.to_owned(),
                field: field.to_owned(),
                found: crate::error::shown(text),
                expected: "a regular expression",
            }),
        }
    }

    /// Whether it matches; `None` where that takes too long to find out.
    pub(crate) fn matches(&self, name: &str) -> Option<bool> {
        self.regex.is_match(name).ok()
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
        Pattern::new("config.json", "dynamic", pattern).expect("valid").matches(name)
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
        assert_eq!(Pattern::new("f", "dynamic", "(").expect_err("broken").code(), "invalid-quantization-config");
        assert!(Pattern::new("f", "dynamic", "((((a{999}){999}){999}){999}){999}").is_err());
        assert_eq!(matches(r"(a*)*\1b", &"a".repeat(60)), None);
    }
}
