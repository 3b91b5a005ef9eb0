//! Sampling on the device. What needs no logits is computed here: a draw depends on seed, stream and position alone.

use honelm_backend::{Sampling, Tensor, uniform};

use super::{GpuBackend, stride, variant};
use crate::recording::{Bound, Pinned};
use crate::shaders::Constant;

/// Whether the most likely token is taken whatever the draw.
fn is_greedy(how: &Sampling) -> bool {
    how.temperature.is_nan() || how.temperature <= 0.0 || how.top_k == 1
}

impl GpuBackend {
    pub(super) fn sample_rows(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        assert_eq!(logits.rows(), how.len(), "settings for each row of logits");
        let count = how.len() as u32;
        let first_slot = self.tokens.take(count, &self.recording.sampled);
        let vocabulary = logits.cols();
        let mut settings = Vec::with_capacity(how.len() * 8);
        for (slot, (row, how)) in (first_slot..).zip(how) {
            let position = u64::from(self.recording.frame.positions[*row as usize]);
            let is_limited = how.top_k > 0 && (how.top_k as usize) < vocabulary;
            let temperature = if is_greedy(how) { 1.0 } else { how.temperature };
            settings.extend([
                temperature.to_bits(),
                if is_limited { how.top_k } else { 0 },
                how.top_p.to_bits(),
                how.min_p.to_bits(),
                uniform(how.seed, how.stream, position, 0).to_bits(),
                u32::from(is_greedy(how)),
                u32::from(how.top_p < 1.0),
                slot,
            ]);
            self.recording.sampled.push((*row, slot));
        }
        let settings = self.recording.append(settings);
        let params = [count, vocabulary as u32, self.at4(logits), stride(vocabulary) as u32 / 4, settings];
        let greedy = how.iter().all(|(_, how)| is_greedy(how));
        let variant = variant("sample", [("GREEDY", Constant::Bool(greedy))]);
        self.dispatch(variant, Bound::Nothing, &params, how.len());
        self.recording.pinned.push((key, Pinned::Tokens(first_slot, count)));
    }
}
