//! Command lines to copy into a shell.

/// Quotes a word for a shell where that is necessary.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@=,+%\\".contains(c);
    match word {
        _ if !word.is_empty() && word.chars().all(plain) && !(cfg!(unix) && word.contains('\\')) => word.to_owned(),
        _ if cfg!(windows) => format!("\"{}\"", word.replace('"', "\\\"")),
        _ => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn words_are_quoted_for_the_shell() {
        for (word, expected) in [
            ("a/b-c.gguf", "a/b-c.gguf"),
            ("my model", "'my model'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$x", "'$x'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
