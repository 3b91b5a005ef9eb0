//! The choice of layers to remove, one after the other, by the divergence of the model without them.

use std::ops::Range;

use honelm_backend::Backend;

use super::probe::Probe;
use crate::CompressError;

/// Returns the layers of which some may be removed.
pub(super) fn candidates(layers: usize, [first, last]: [usize; 2]) -> Range<usize> {
    // Of few layers, at most half are protected, in the same proportion.
    let most = layers / 2;
    let (first, last) = match first + last {
        wanted if wanted > most => (first * most / wanted, last * most / wanted),
        _ => (first, last),
    };
    first..layers - last
}

/// Removes `count` layers of `candidates` from `left`, each the one without which the model diverges the least from the original.
/// `tell` is called before every measurement.
pub(super) fn remove(
    probe: &mut Probe<'_>,
    left: &mut Vec<usize>,
    (candidates, count): (&Range<usize>, usize),
    backend: &mut dyn Backend,
    tell: &mut dyn FnMut(String) -> Result<(), CompressError>,
) -> Result<(), CompressError> {
    for round in 0..count {
        let mut best: Option<(f64, usize)> = None;
        let mut before = probe.start(backend)?;
        for at in 0..left.len() {
            if candidates.contains(&left[at]) {
                tell(format!("layer {} of {count}: without layer {}", round + 1, left[at]))?;
                let mut states = before.clone();
                for &later in &left[at + 1..] {
                    probe.pass(&mut states, later, backend)?;
                }
                let found = probe.divergence(&states, backend)?;
                if best.is_none_or(|(lowest, _)| found < lowest) {
                    best = Some((found, at));
                }
            }
            probe.pass(&mut before, left[at], backend)?;
        }
        if let Some((_, at)) = best {
            left.remove(at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn at_most_half_of_the_layers_are_protected() {
        assert_eq!(candidates(32, [4, 2]), 4..30);
        assert_eq!(candidates(12, [4, 2]), 4..10);
        assert_eq!(candidates(10, [4, 2]), 3..9);
        assert_eq!(candidates(4, [4, 2]), 1..4);
        assert_eq!(candidates(2, [4, 2]), 0..2);
        assert_eq!(candidates(8, [0, 0]), 0..8);
    }
}
