//! The speed of another engine, which a script measured on the same machine.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The largest size of the file.
const MOST_BYTES: u64 = 1 << 20;

/// The speed of a model in another engine, as `crates/honelm/scripts/transformers_speed.py` writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherEngine {
    /// The engine with its version, for example `transformers 4.57.1, torch 2.9.1`.
    pub engine: String,
    /// The number format of weights and arithmetic.
    pub dtype: String,
    /// The number of threads.
    pub threads: usize,
    /// The rate of reading a prompt of as many tokens as this engine is measured with.
    pub prefill_tokens_per_second: f64,
    /// The rate of greedy decoding.
    pub decode_tokens_per_second: f64,
    /// The time from a prompt of 128 tokens to the first token of the answer.
    pub first_token_seconds: f64,
}

impl OtherEngine {
    /// Reads the file of the script.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that is no such document: names the file, and what is missing or wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::Usage(format!("--transformers: {}: {problem}", path.display()));
        let bytes = honelm_formats::read_input(path, MOST_BYTES)?;
        let read: Self = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        let figures = [
            ("prefill_tokens_per_second", read.prefill_tokens_per_second),
            ("decode_tokens_per_second", read.decode_tokens_per_second),
            ("first_token_seconds", read.first_token_seconds),
        ];
        match figures.into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((name, value)) => Err(bad(format!("{name}: found {value}, expected a number above 0"))),
            None => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_kind_is_named_with_its_problem() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("speed.json");
        let right = r#"{"engine": "e", "dtype": "float16", "threads": 2, "prefill_tokens_per_second": 100,
            "decode_tokens_per_second": 10, "first_token_seconds": 0.5}"#;
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            OtherEngine::read(&path)
        };
        assert_eq!(read(right).expect("read").decode_tokens_per_second, 10.0);
        for (text, problem) in [
            (right.replace("0.5", "0"), "first_token_seconds: found 0, expected a number above 0"),
            (right.replace("\"threads\": 2, ", ""), "missing field `threads`"),
            (right.replace("threads", "thread"), "unknown field `thread`"),
            ("[]".to_owned(), "invalid"),
        ] {
            let error = read(&text).expect_err("refused").to_string();
            assert!(error.contains("speed.json") && error.contains(problem), "{error}");
        }
    }
}
