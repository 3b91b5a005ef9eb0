use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::EvalError;

/// How a text becomes scored predictions. The number is the length in tokens that names the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// llama.cpp's `llama-perplexity`: chunks of N tokens, the first replaced by BOS, the second half scored.
    LlamaCpp(usize),
    /// GPTQ's (Frantar et al. 2022): chunks of N tokens, all N - 1 targets scored, the tail dropped, BOS at the very
    /// start only. A chunk is at most the model's context.
    Gptq(usize),
    /// Hugging Face's sliding window: the model's whole context, moved on by N tokens, the last N targets scored; the
    /// first window scores all of its targets.
    HfStride(usize),
}

/// Tokens to run and the positions whose predictions of the next token are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Input tokens, and the targets of the scored positions.
    pub tokens: Vec<u32>,
    /// Position `p` predicts `tokens[p + 1]`.
    pub scored: Range<usize>,
}

impl Protocol {
    /// The same protocol as a model of `context` tokens runs it (`gptq-2048` becomes `gptq-1024`).
    #[must_use]
    pub fn fitted(self, context: usize) -> Self {
        match self {
            Self::Gptq(n) => Self::Gptq(n.min(context)),
            other => other,
        }
    }

    /// Cuts `tokens` into windows. `tokens` starts with BOS where the model has one, given as `bos` too.
    pub fn windows(self, tokens: &[u32], bos: Option<u32>, context: usize) -> Result<Vec<Window>, EvalError> {
        let windows = match self.fitted(context) {
            Self::LlamaCpp(n) => {
                self.fits(n, context)?;
                self.enough(tokens, n)?;
                let half = n / 2;
                tokens
                    .chunks_exact(n)
                    .map(|chunk| {
                        let mut tokens = chunk.to_vec();
                        tokens[0] = bos.unwrap_or(tokens[0]);
                        Window { tokens, scored: half..n - 1 }
                    })
                    .collect()
            }
            Self::Gptq(n) => {
                self.enough(tokens, n)?;
                tokens.chunks_exact(n).map(|c| Window { tokens: c.to_vec(), scored: 0..n - 1 }).collect()
            }
            Self::HfStride(stride) => {
                self.fits(stride.saturating_add(1), context)?;
                self.enough(tokens, 2)?;
                strided(tokens, stride, context)
            }
        };
        Ok(windows)
    }

    fn fits(self, wanted: usize, context: usize) -> Result<(), EvalError> {
        if wanted > context {
            return Err(EvalError::ContextTooShort { protocol: self.to_string(), wanted, context });
        }
        Ok(())
    }

    fn enough(self, tokens: &[u32], wanted: usize) -> Result<(), EvalError> {
        if tokens.len() < wanted {
            return Err(EvalError::TextTooShort { protocol: self.to_string(), found: tokens.len(), wanted });
        }
        Ok(())
    }
}

/// Windows of `context` tokens whose ends are `stride` apart; each target is scored once.
fn strided(tokens: &[u32], stride: usize, context: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut scored_to = 1; // target 0 has nothing before it
    let mut end = context.min(tokens.len());
    loop {
        let begin = end.saturating_sub(context);
        windows.push(Window { tokens: tokens[begin..end].to_vec(), scored: scored_to - 1 - begin..end - 1 - begin });
        scored_to = end;
        if end == tokens.len() {
            return windows;
        }
        end = (end + stride).min(tokens.len());
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LlamaCpp(n) => write!(f, "llama.cpp-{n}"),
            Self::Gptq(n) => write!(f, "gptq-{n}"),
            Self::HfStride(n) => write!(f, "hf-stride-{n}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let unknown = || EvalError::UnknownProtocol(name.to_owned());
        let (kind, length) = name.rsplit_once('-').ok_or_else(unknown)?;
        let n: usize = length.parse().map_err(|_| unknown())?;
        match kind {
            "llama.cpp" if n >= 4 => Ok(Self::LlamaCpp(n)),
            "gptq" if n >= 2 => Ok(Self::Gptq(n)),
            "hf-stride" if n >= 1 => Ok(Self::HfStride(n)),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(windows: &[Window]) -> Vec<u32> {
        windows.iter().flat_map(|w| w.scored.clone().map(|p| w.tokens[p + 1])).collect()
    }

    #[test]
    fn names_round_trip_and_nonsense_is_refused() {
        for name in ["llama.cpp-512", "gptq-2048", "hf-stride-512"] {
            assert_eq!(name.parse::<Protocol>().expect("a protocol").to_string(), name);
        }
        for name in ["llama.cpp", "gptq-", "gptq-1", "hf-stride-0", "other-512", ""] {
            assert!(name.parse::<Protocol>().is_err(), "{name}");
        }
    }

    #[test]
    fn llama_cpp_replaces_the_first_token_and_scores_the_second_half() {
        let tokens: Vec<u32> = (100..100 + 19).collect();
        let windows = Protocol::LlamaCpp(8).windows(&tokens, Some(1), 64).expect("windows");
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[1].tokens[..3], [1, 109, 110]);
        assert_eq!(targets(&windows), [105, 106, 107, 113, 114, 115]);
    }

    #[test]
    fn gptq_scores_all_targets_of_a_block_no_longer_than_the_context() {
        let tokens: Vec<u32> = (0..25).collect();
        let windows = Protocol::Gptq(2048).windows(&tokens, Some(0), 10).expect("windows");
        assert_eq!(windows.len(), 2);
        assert_eq!(targets(&windows), (1..10).chain(11..20).collect::<Vec<_>>());
        assert_eq!(Protocol::Gptq(2048).fitted(10).to_string(), "gptq-10");
    }

    #[test]
    fn stride_scores_every_target_once() {
        let tokens: Vec<u32> = (0..37).collect();
        let windows = Protocol::HfStride(4).windows(&tokens, Some(0), 10).expect("windows");
        assert_eq!(targets(&windows), (1..37).collect::<Vec<_>>());
        assert!(windows[1..].iter().all(|w| w.tokens.len() == 10 && w.scored.len() <= 4));
    }

    #[test]
    fn refuses_short_texts_and_short_contexts() {
        assert!(matches!(
            Protocol::LlamaCpp(512).windows(&[1; 600], None, 256),
            Err(EvalError::ContextTooShort { wanted: 512, context: 256, .. })
        ));
        assert!(matches!(
            Protocol::HfStride(usize::MAX).windows(&[1; 600], None, 256),
            Err(EvalError::ContextTooShort { wanted: usize::MAX, context: 256, .. })
        ));
        assert!(matches!(
            Protocol::LlamaCpp(512).windows(&[1; 511], None, 1024),
            Err(EvalError::TextTooShort { found: 511, wanted: 512, .. })
        ));
    }
}
