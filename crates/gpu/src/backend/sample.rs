//! Sampling on the device. The host computes what does not need logits: a draw depends on seed, stream and position alone.

use honelm_backend::{Sampling, Tensor, uniform};

use super::{GpuBackend, stride, variant};
use crate::recording::{Bound, Pinned};
use crate::shaders::Constant;

/// Returns `true` if the most likely token is taken regardless of the draw.
fn is_greedy(sampling: &Sampling) -> bool {
    sampling.temperature.is_nan() || sampling.temperature <= 0.0 || sampling.top_k == 1
}

impl GpuBackend {
    pub(super) fn sample_rows(&mut self, key: u32, logits: &Tensor, samplings: &[(u32, Sampling)]) {
        assert_eq!(logits.rows(), samplings.len(), "settings for each row of logits");
        let count = samplings.len() as u32;
        let first_slot = self.tokens.take(count, &self.recording.sampled);
        let vocabulary = logits.cols();
        let mut settings = Vec::with_capacity(samplings.len() * 8);
        for (slot, (row, sampling)) in (first_slot..).zip(samplings) {
            let position = u64::from(self.recording.frame.positions[*row as usize]);
            let is_limited = sampling.top_k > 0 && (sampling.top_k as usize) < vocabulary;
            let temperature = if is_greedy(sampling) { 1.0 } else { sampling.temperature };
            settings.extend([
                temperature.to_bits(),
                if is_limited { sampling.top_k } else { 0 },
                sampling.top_p.to_bits(),
                sampling.min_p.to_bits(),
                uniform(sampling.seed, sampling.stream, position, 0).to_bits(),
                u32::from(is_greedy(sampling)),
                u32::from(sampling.top_p < 1.0),
                slot,
            ]);
            self.recording.sampled.push((*row, slot));
        }
        let settings = self.recording.append(settings);
        let params = [count, vocabulary as u32, self.at4(logits), stride(vocabulary) as u32 / 4, settings];
        let greedy = samplings.iter().all(|(_, sampling)| is_greedy(sampling));
        let variant = variant("sample", [("GREEDY", Constant::Bool(greedy))]);
        self.dispatch(variant, Bound::Nothing, &params, samplings.len());
        self.recording.pinned.push((key, Pinned::Tokens(first_slot, count)));
    }
}
