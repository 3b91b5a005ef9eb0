use crate::rows::Pair;
use crate::scores::check_finite;
use crate::{EvalError, Scores, Window};

/// A candidate measured against the original, position by position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// Likelihoods of the candidate.
    pub scores: Scores,
    /// Those of the original on the same windows.
    pub base: Scores,
    /// KL(original || candidate) over the whole vocabulary. // nats, one list a window
    pub kl: Vec<Vec<f32>>,
    /// Scored positions at which both find the same token most likely.
    pub same_top: usize,
    /// Scored positions at which the original is clear: its two largest logits are at least [`CLEAR_MARGIN`] apart.
    pub clear: usize,
    /// Those of them at which the candidate finds another token most likely.
    pub clear_changed: usize,
}

/// Logits this far apart do not change places by rounding.
pub const CLEAR_MARGIN: f32 = 0.1;

impl Comparison {
    /// Takes in what the positions of window `w` say.
    pub(crate) fn push(&mut self, w: usize, window: &Window, pairs: &[Pair]) -> Result<(), EvalError> {
        let nll: Vec<f32> = pairs.iter().map(|p| p.nll as f32).collect();
        check_finite(w, window, &nll)?;
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
