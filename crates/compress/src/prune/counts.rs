//! The sizes that shares stand for.

use honelm_model::{Checkpoint, Resize};

use super::Prune;
use super::choice::Choice;
use crate::CompressError;

/// The number of neurons that encodings need a multiple of.
const BLOCK: usize = 32;

/// The sizes of a pruned model, apart from the layers that remain, which are chosen later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    /// The units of heads; `None` if all remain. A unit is a key-value group, or a query head in a class for its group.
    pub heads: Option<Choice>,
    /// The neurons; `None` if all remain.
    pub neurons: Option<Choice>,
    /// The sizes.
    pub sizes: Resize,
    pub warnings: Vec<String>,
}

impl Counts {
    /// Returns the sizes nearest to the shares of `settings`.
    ///
    /// # Errors
    /// [`CompressError::Unsupported`] if nothing would be removed, or everything of a kind.
    pub(super) fn new(settings: &Prune, checkpoint: &Checkpoint) -> Result<Self, CompressError> {
        settings.check().map_err(CompressError::Unsupported)?;
        let old = checkpoint.sizes();
        let mut counts = Self { heads: None, neurons: None, sizes: old.clone(), warnings: Vec::new() };
        counts.choose_heads(settings.heads, &old, checkpoint.blueprint().definition.cache(0).head_width)?;
        counts.choose_neurons(settings, &old)?;
        if settings.layers >= old.layers.len() {
            let (found, layers) = (settings.layers, old.layers.len());
            return Err(unsupported(format!("layers {found}: expected fewer than the model's {layers}")));
        }
        if counts.heads.is_none() && counts.neurons.is_none() && settings.layers == 0 && settings.sparsity.is_none() {
            let reasons = counts.warnings.join("; ");
            return Err(unsupported(format!("nothing would be removed: {reasons}")));
        }
        Ok(counts)
    }

    fn choose_heads(&mut self, share: f64, old: &Resize, head_width: usize) -> Result<(), CompressError> {
        if share == 0.0 {
            return Ok(());
        }
        let readers = old.heads / old.kv_heads.max(1);
        let groups = (1..=old.kv_heads).map(|groups| (groups, readers));
        let all = groups.chain((1..readers).map(|readers| (old.kv_heads, readers)));
        let removed = |(groups, readers): (usize, usize)| 1.0 - (groups * readers) as f64 / old.heads as f64;
        let mut options: Vec<(usize, usize)> = all.collect();
        // The sort is stable: where both come as close, groups are removed, since the cache gets smaller with them.
        options.sort_by(|a, b| (removed(*a) - share).abs().total_cmp(&(removed(*b) - share).abs()));
        let Some(&best) = options.first() else { return Ok(()) };
        let most = options.iter().map(|&option| removed(option)).fold(0.0, f64::max);
        if share > (1.0 + most) / 2.0 {
            return Err(unsupported(format!(
                "heads {share}: no head would remain of {}; at most {most} can be removed",
                old.heads
            )));
        }
        let kept = best.0 * best.1;
        if kept == old.heads {
            let least = options.iter().map(|&option| removed(option)).filter(|&r| r > 0.0).fold(1.0, f64::min);
            let found = format!("{} heads in {} key-value groups", old.heads, old.kv_heads);
            self.warnings.push(match least < 1.0 {
                true => format!("heads {share}: {found} remain; the nearest possible share is {least}"),
                false => format!("heads {share}: {found} remain; none can be removed"),
            });
            return Ok(());
        }
        (self.sizes.heads, self.sizes.kv_heads) = (kept, best.0);
        self.heads = Some(match best.0 < old.kv_heads {
            true => {
                let (width, units) = (readers * head_width, old.kv_heads);
                Choice { width, units, classes: 1, remove: units - best.0 }
            }
            false => {
                let (units, classes) = (old.heads, old.kv_heads);
                Choice { width: head_width, units, classes, remove: readers - best.1 }
            }
        });
        Ok(())
    }

    fn choose_neurons(&mut self, settings: &Prune, old: &Resize) -> Result<(), CompressError> {
        let (share, ffn) = (settings.ffn, old.ffn);
        if share == 0.0 {
            return Ok(());
        }
        let multiple = match settings.multiple {
            0 => BLOCK.min(1 << ffn.trailing_zeros().min(5)),
            given => given,
        };
        let kept = (ffn as f64 * (1.0 - share) / multiple as f64).round() as usize * multiple;
        if kept == 0 {
            return Err(unsupported(format!(
                "ffn {share}: no neuron would remain of {ffn}, in multiples of {multiple}; at most {} can be removed",
                1.0 - multiple as f64 / ffn as f64
            )));
        }
        if kept >= ffn {
            self.warnings.push(format!(
                "ffn {share}: {ffn} neurons remain; the nearest possible share is {}, in multiples of {multiple}",
                multiple as f64 / ffn as f64
            ));
            return Ok(());
        }
        self.sizes.ffn = kept;
        self.neurons = Some(Choice { width: 1, units: ffn, classes: 1, remove: ffn - kept });
        Ok(())
    }
}

fn unsupported(problem: String) -> CompressError {
    CompressError::Unsupported(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> (Counts, Resize) {
        let sizes = Resize { layers: (0..4).collect(), heads: 8, kv_heads: 4, ffn: 1280, width: 512 };
        (Counts { heads: None, neurons: None, sizes: sizes.clone(), warnings: Vec::new() }, sizes)
    }

    #[test]
    fn heads_go_in_whole_groups_or_evenly_from_each() {
        for (share, kept, width) in [(0.2, (6, 3), 128), (0.3, (6, 3), 128), (0.5, (4, 2), 128), (0.75, (2, 1), 128)] {
            let (mut counts, old) = counts();
            counts.choose_heads(share, &old, 64).expect("possible");
            assert_eq!((counts.sizes.heads, counts.sizes.kv_heads), kept, "{share}");
            assert_eq!(counts.heads.map(|choice| choice.width), Some(width), "{share}");
        }
        let (mut counts, old) = counts();
        let wide = Resize { heads: 12, kv_heads: 2, ..old };
        counts.choose_heads(0.2, &wide, 64).expect("possible");
        assert_eq!((counts.sizes.heads, counts.sizes.kv_heads), (10, 2));
        assert_eq!(counts.heads, Some(Choice { width: 64, units: 12, classes: 2, remove: 1 }));
    }

    #[test]
    fn shares_that_remove_nothing_or_everything_are_named() {
        let (mut few, old) = counts();
        few.choose_heads(0.1, &old, 64).expect("a warning");
        assert_eq!((few.heads, few.sizes.heads), (None, 8));
        assert!(few.warnings[0].contains("nearest possible share is 0.25"), "{:?}", few.warnings);
        let error = few.choose_heads(0.9, &old, 64).expect_err("no head");
        assert!(error.to_string().contains("at most 0.75"), "{error}");
        let all = Prune { ffn: 0.999, ..Prune::default() };
        let error = few.choose_neurons(&all, &old).expect_err("no neuron");
        assert!(error.to_string().contains("at most 0.975"), "{error}");
        let little = Prune { ffn: 0.01, ..Prune::default() };
        few.choose_neurons(&little, &old).expect("a warning");
        assert!(few.neurons.is_none() && few.warnings[1].contains("share is 0.025"), "{:?}", few.warnings);
    }

    #[test]
    fn neurons_stay_a_multiple_of_a_block() {
        let (mut counts, old) = counts();
        counts.choose_neurons(&Prune::default(), &old).expect("possible");
        assert_eq!((counts.sizes.ffn, counts.neurons.map(|n| n.remove)), (1088, Some(192)));
        let odd = Resize { ffn: 12, ..old };
        counts.choose_neurons(&Prune { ffn: 0.3, ..Prune::default() }, &odd).expect("possible");
        assert_eq!(counts.sizes.ffn, 8);
    }
}
