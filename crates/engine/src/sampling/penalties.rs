use std::collections::{BTreeMap, BTreeSet};

/// Makes the tokens of `recent` less likely, each once: positive logits are divided by `penalty`, others multiplied by it
/// (Keskar et al. 2019). // `[V]`
pub fn penalize_repeats(logits: &mut [f32], recent: &[u32], penalty: f32) {
    for id in recent.iter().collect::<BTreeSet<_>>() {
        if let Some(logit) = logits.get_mut(*id as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// Subtracts `count * frequency + presence` from the logit of each token that occurs `count` times in `answer`. // `[V]`
pub fn penalize_frequency_and_presence(logits: &mut [f32], answer: &[u32], frequency: f32, presence: f32) {
    let mut counts = BTreeMap::new();
    for id in answer {
        *counts.entry(*id).or_insert(0u32) += 1;
    }
    for (id, count) in counts {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit -= count as f32 * frequency + presence;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_penalized_once_and_away_from_zero() {
        let mut logits = [2.0, -2.0, 0.0, 5.0];
        penalize_repeats(&mut logits, &[0, 1, 0, 2, 70], 2.0);
        assert_eq!(logits, [1.0, -4.0, 0.0, 5.0]);
    }

    #[test]
    fn frequency_counts_and_presence_does_not() {
        let mut logits = [1.0, 1.0, 1.0];
        penalize_frequency_and_presence(&mut logits, &[0, 2, 0, 0, 70], 0.25, 0.5);
        assert_eq!(logits, [1.0 - 3.0 * 0.25 - 0.5, 1.0, 1.0 - 0.25 - 0.5]);
    }
}
