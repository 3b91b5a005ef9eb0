use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::EvalError;

/// A protocol for perplexity: the division of a text into chunks, and the positions that are scored. The number is the
/// length N in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol of llama.cpp (`tools/perplexity/perplexity.cpp`, function `perplexity`): chunks of N tokens whose first
    /// token is replaced by BOS. The predictions from position N / 2 on are scored, and an incomplete chunk at the end is
    /// dropped.
    LlamaCpp(usize),
    /// The protocol of GPTQ (Frantar et al. 2022, section 4; `llama.py`, function `llama_eval`): chunks of N tokens, or of
    /// the model's context if that is shorter. All N - 1 predictions are scored, an incomplete chunk at the end is dropped,
    /// and only the text begins with BOS.
    Gptq(usize),
    /// The sliding window of Hugging Face ("Perplexity of fixed-length models" in the documentation of transformers):
    /// chunks of the model's context that begin N tokens apart. Each chunk scores its last N predictions, and the first
    /// one all of them.
    HfStride(usize),
}

/// A chunk of tokens, and the positions whose predictions of the next token are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The input tokens, which include the targets of the scored positions.
    pub tokens: Vec<u32>,
    /// The scored positions; position `p` predicts `tokens[p + 1]`.
    pub scored: Range<usize>,
}

impl Protocol {
    /// Returns the protocol for a model of `context` tokens: with 1024 of them, `gptq-2048` becomes `gptq-1024`.
    #[must_use]
    pub fn fitted(self, context: usize) -> Self {
        match self {
            Self::Gptq(n) => Self::Gptq(n.min(context)),
            other => other,
        }
    }

    /// Divides `tokens` into chunks. If the model has a BOS, `tokens` must begin with it, and `bos` must be given.
    ///
    /// # Errors
    /// [`EvalError::ContextTooShort`], [`EvalError::TextTooShort`].
    pub fn chunks(self, tokens: &[u32], bos: Option<u32>, context: usize) -> Result<Vec<Chunk>, EvalError> {
        let chunks = match self.fitted(context) {
            Self::LlamaCpp(n) => {
                self.fits(n, context)?;
                self.enough(tokens, n)?;
                let half = n / 2;
                tokens
                    .chunks_exact(n)
                    .map(|chunk| {
                        let mut tokens = chunk.to_vec();
                        tokens[0] = bos.unwrap_or(tokens[0]);
                        Chunk { tokens, scored: half..n - 1 }
                    })
                    .collect()
            }
            Self::Gptq(n) => {
                self.enough(tokens, n)?;
                tokens.chunks_exact(n).map(|c| Chunk { tokens: c.to_vec(), scored: 0..n - 1 }).collect()
            }
            Self::HfStride(stride) => {
                self.fits(stride.saturating_add(1), context)?;
                self.enough(tokens, 2)?;
                strided(tokens, stride, context)
            }
        };
        Ok(chunks)
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

/// Returns chunks of `context` tokens whose ends are `stride` tokens apart; each target is scored once.
fn strided(tokens: &[u32], stride: usize, context: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut scored_to = 1; // No token precedes target 0.
    let mut end = context.min(tokens.len());
    loop {
        let begin = end.saturating_sub(context);
        chunks.push(Chunk { tokens: tokens[begin..end].to_vec(), scored: scored_to - 1 - begin..end - 1 - begin });
        scored_to = end;
        if end == tokens.len() {
            return chunks;
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

    fn targets(chunks: &[Chunk]) -> Vec<u32> {
        chunks.iter().flat_map(|w| w.scored.clone().map(|p| w.tokens[p + 1])).collect()
    }

    #[test]
    fn names_round_trip_and_invalid_ones_are_refused() {
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
        let chunks = Protocol::LlamaCpp(8).chunks(&tokens, Some(1), 64).expect("chunks");
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[1].tokens[..3], [1, 109, 110]);
        assert_eq!(targets(&chunks), [105, 106, 107, 113, 114, 115]);
    }

    #[test]
    fn gptq_scores_all_targets_of_chunks_that_fit_the_context() {
        let tokens: Vec<u32> = (0..25).collect();
        let chunks = Protocol::Gptq(2048).chunks(&tokens, Some(0), 10).expect("chunks");
        assert_eq!(chunks.len(), 2);
        assert_eq!(targets(&chunks), (1..10).chain(11..20).collect::<Vec<_>>());
        assert_eq!(Protocol::Gptq(2048).fitted(10).to_string(), "gptq-10");
    }

    #[test]
    fn stride_scores_every_target_once() {
        let tokens: Vec<u32> = (0..37).collect();
        let chunks = Protocol::HfStride(4).chunks(&tokens, Some(0), 10).expect("chunks");
        assert_eq!(targets(&chunks), (1..37).collect::<Vec<_>>());
        assert!(chunks[1..].iter().all(|w| w.tokens.len() == 10 && w.scored.len() <= 4));
    }

    #[test]
    fn short_texts_and_short_contexts_are_refused() {
        assert!(matches!(
            Protocol::LlamaCpp(512).chunks(&[1; 600], None, 256),
            Err(EvalError::ContextTooShort { wanted: 512, context: 256, .. })
        ));
        assert!(matches!(
            Protocol::HfStride(usize::MAX).chunks(&[1; 600], None, 256),
            Err(EvalError::ContextTooShort { wanted: usize::MAX, context: 256, .. })
        ));
        assert!(matches!(
            Protocol::LlamaCpp(512).chunks(&[1; 511], None, 1024),
            Err(EvalError::TextTooShort { found: 511, wanted: 512, .. })
        ));
    }
}
