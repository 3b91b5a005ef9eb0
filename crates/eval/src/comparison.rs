use crate::rows::Pair;
use crate::scores::check_finite;
use crate::{Chunk, EvalError, Scores};

/// A comparison of a candidate with the original, position by position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// The scores of the candidate.
    pub scores: Scores,
    /// The scores of the original on the same chunks.
    pub base: Scores,
    /// The divergence KL(original || candidate) over the whole vocabulary. // nats, one list per chunk
    pub kl: Vec<Vec<f32>>,
    /// The number of scored positions at which both models have the same most likely token.
    pub same_top: usize,
    /// The number of scored positions at which the original is clear: its two largest logits differ by at least
    /// [`CLEAR_MARGIN`].
    pub clear: usize,
    /// The number of clear positions at which the candidate has another most likely token.
    pub clear_changed: usize,
}

/// The difference of two logits that rounding errors do not reverse.
pub const CLEAR_MARGIN: f32 = 0.1;

impl Comparison {
    /// Adds the positions of chunk `w`.
    pub(crate) fn push(&mut self, w: usize, chunk: &Chunk, pairs: &[Pair]) -> Result<(), EvalError> {
        let nll: Vec<f32> = pairs.iter().map(|p| p.nll as f32).collect();
        check_finite(w, chunk, &nll)?;
        self.scores.nll.push(nll);
        self.base.nll.push(pairs.iter().map(|p| p.base_nll as f32).collect());
        self.kl.push(pairs.iter().map(|p| p.kl as f32).collect());
        for pair in pairs {
            let clear = pair.base_margin >= CLEAR_MARGIN;
            self.same_top += usize::from(pair.same_top);
            self.clear += usize::from(clear);
            self.clear_changed += usize::from(clear && !pair.same_top);
        }
        Ok(())
    }
}
