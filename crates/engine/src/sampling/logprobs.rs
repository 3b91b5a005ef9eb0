use crate::TokenLogprobs;

/// Computes log(sum(exp(logits))) by a shifted sum in f64. // `[V]`
#[must_use]
pub fn log_total(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(max) + logits.iter().map(|&l| f64::from(l - max).exp()).sum::<f64>().ln()
}

/// Computes the natural log-probabilities of `id` and of the `top` most likely tokens. Equally likely tokens are sorted by
/// their ids. // `[V]`
#[must_use]
pub fn token_logprobs(logits: &[f32], id: u32, top: usize) -> TokenLogprobs {
    let total = log_total(logits);
    let logprob = |id: u32| logits.get(id as usize).map_or(f32::NEG_INFINITY, |&l| (f64::from(l) - total) as f32);
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let descending = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let top = top.min(ids.len());
    if top < ids.len() {
        ids.select_nth_unstable_by(top, descending);
        ids.truncate(top);
    }
    ids.sort_unstable_by(descending);
    TokenLogprobs { id, logprob: logprob(id), top: ids.into_iter().map(|id| (id, logprob(id))).collect() }
}

#[cfg(test)]
mod tests {
    use super::token_logprobs;

    #[test]
    fn matches_log_softmax() {
        // log(p) of softmax([ln 1, ln 2, ln 4, ln 1]) = [1, 2, 4, 1] / 8.
        let logits = [1f32, 2.0, 4.0, 1.0].map(|p| p.ln() + 100.0);
        let found = token_logprobs(&logits, 1, 3);
        let close = |a: f32, p: f32| assert!((a - p.ln()).abs() < 1e-5, "{a} is not ln {p}");
        close(found.logprob, 0.25);
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1, 0]);
        found.top.iter().zip([0.5, 0.25, 0.125]).for_each(|(t, p)| close(t.1, p));
        assert_eq!(token_logprobs(&logits, 0, 99).top.len(), 4);
        assert!(token_logprobs(&logits, 0, 0).top.is_empty());
    }
}
