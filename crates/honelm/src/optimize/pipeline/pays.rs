//! The rules by which a step pays.

use honelm_eval::Verdict;

use crate::optimize::Row;
use crate::units::bytes;

/// The factor by which a model must be faster to count as faster.
const FASTER: f64 = 1.05;
/// The factor by which a divergence may be larger and still count as the same: runs that are nominally equal differ by as much.
const SAME_KL: f64 = 1.05;
/// The least speed with drafts relative to that without, in every class of prompts.
const FLOOR: f64 = 0.98;

/// The result of a rule, with the reason in one sentence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paid {
    pub pays: bool,
    pub reason: String,
}

impl Paid {
    pub(super) fn new(pays: bool, reason: String) -> Self {
        Self { pays, reason }
    }
}

pub(super) fn kl(row: &Row) -> f64 {
    row.quality.kl_divergence.unwrap_or(f64::INFINITY)
}

/// Returns the decode rates and the prefill rates of two models, each relative to the original's, as one ratio each.
fn speedups(a: &Row, b: &Row) -> [f64; 2] {
    match (&a.speed_ratio, &b.speed_ratio) {
        (Some(a), Some(b)) => [a.decode.median / b.decode.median, a.prefill.median / b.prefill.median],
        _ => [1.0, 1.0],
    }
}

/// Pruning pays if, at equal bytes, the pruned and quantised model has a lower divergence than the quantised one; or if it
/// is faster, and the divergence is not larger by more than the noise.
pub(super) fn pruning(pruned: &Row, alone: &Row) -> Paid {
    let (own, other) = (kl(pruned), kl(alone));
    let [decode, prefill] = speedups(pruned, alone);
    let is_faster = decode.max(prefill) >= FASTER;
    let pays = own < other || (own <= other * SAME_KL && is_faster);
    let told = format!(
        "of at most the same bytes, {} ({}) has a KL divergence of {own:.4} nats, {} ({}) {other:.4}; decode is {decode:.2}x, \
         prefill {prefill:.2}x as fast",
        pruned.name,
        bytes(pruned.size_bytes),
        alone.name,
        bytes(alone.size_bytes)
    );
    if pruned.verdict == Some(Verdict::Rejected) && alone.verdict == Some(Verdict::Accepted) {
        return Paid::new(false, format!("{told}; it exceeds the budget, which quantisation alone holds"));
    }
    Paid::new(pays, told)
}

/// Returns the reason to refuse a smaller model before it is quantised: its divergence is already as large as that of
/// quantisation alone, and quantisation will add to it.
pub(super) fn is_hopeless(smaller: &Row, alone: &Row) -> Option<String> {
    let (own, other) = (kl(smaller), kl(alone));
    (own >= other).then(|| {
        format!(
            "refused before it was quantised: {} has a KL divergence of {own:.4} nats, {} only {other:.4}, and quantisation \
             would add to it",
            smaller.name, alone.name
        )
    })
}

/// A step that keeps the bytes pays if it lowers the divergence.
pub(super) fn lowering(after: &Row, before: &Row) -> Paid {
    let (own, other) = (kl(after), kl(before));
    Paid::new(own < other, format!("the KL divergence becomes {own:.4} nats from {other:.4}"))
}

/// Quantisation pays if it saves bytes.
pub(super) fn saving(after: &Row, before: u64) -> Paid {
    let (own, other) = (bytes(after.size_bytes), bytes(before));
    let reason = format!("{own} instead of {other}, a KL divergence of {:.4} nats", kl(after));
    Paid::new(after.size_bytes < before, reason)
}

/// Drafts pay if answers are faster on average over the classes of prompts (geometric mean), and in no class slower than the
/// floor.
pub(super) fn drafting(speedup: f64, lowest: f64) -> Paid {
    let reason = format!("answers are written {speedup:.2}x as fast, {lowest:.2}x in the slowest class of prompts");
    Paid::new(speedup > 1.0 && lowest >= FLOOR, reason)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the row of a model with a divergence and a decode rate relative to the original's.
    pub(in crate::optimize::pipeline) fn row(name: &str, kl: f64, decode: f64, bytes: u64) -> Row {
        let spread = |x: f64| json!({"median": x, "least": x, "most": x});
        let row = json!({
            "name": name, "chosen": false, "verdict": "accepted", "rejected_early": false, "size_bytes": bytes,
            "size_ratio": 0.25, "bits_per_weight": 4.5, "chunks": 60, "perplexity": 44.0, "perplexity_stderr": 1.0,
            "original_perplexity": 43.5, "perplexity_difference": 0.5, "perplexity_difference_upper95": 0.6,
            "kl_divergence": kl, "same_top_percent": 90.0, "load_seconds": 0.1,
            "prefill_tokens_per_second": 1000.0 * decode, "decode_tokens_per_second": 100.0 * decode,
            "first_token_seconds": 0.05 / decode, "peak_memory_bytes": 1000,
            "speed_ratio": {"pairs": 3, "prefill": spread(decode), "decode": spread(decode)},
        });
        serde_json::from_value(row).expect("a row")
    }

    #[test]
    fn pruning_pays_for_quality_at_equal_bytes_or_for_speed_at_equal_quality() {
        let alone = row("mix 1", 0.02, 3.0, 100);
        for (kl, decode, pays) in
            [(0.019, 3.0, true), (0.0209, 3.2, true), (0.0209, 3.1, false), (0.022, 4.0, false), (0.02, 3.0, false)]
        {
            let paid = pruning(&row("prune mix", kl, decode, 100), &alone);
            assert_eq!(paid.pays, pays, "{kl} {decode}: {}", paid.reason);
            assert!(
                paid.reason.contains("prune mix (100 B) has a KL") && paid.reason.contains("0.0200"),
                "{}",
                paid.reason
            );
        }
        let mut rejected = row("prune mix", 0.01, 3.0, 100);
        rejected.verdict = Some(Verdict::Rejected);
        assert!(!pruning(&rejected, &alone).pays);
    }

    #[test]
    fn a_smaller_model_that_is_worse_than_quantisation_is_refused_early() {
        let alone = row("mix 1", 0.02, 3.0, 100);
        assert!(is_hopeless(&row("prune", 0.02, 1.2, 400), &alone).expect("refused").contains("prune has"));
        assert_eq!(is_hopeless(&row("prune", 0.01, 1.2, 400), &alone), None);
    }

    #[test]
    fn other_steps_pay_by_divergence_bytes_and_speed() {
        let before = row("mix 1", 0.02, 3.0, 100);
        assert!(lowering(&row("mix 1 tuned", 0.019, 3.0, 100), &before).pays);
        assert!(!lowering(&before, &before).pays);
        assert!(saving(&before, 101).pays && !saving(&before, 100).pays);
        assert!(drafting(1.2, 0.99).pays && !drafting(1.2, 0.9).pays && !drafting(1.0, 1.0).pays);
    }
}
