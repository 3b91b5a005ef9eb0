//! The tensors that share an encoding, the encodings that they can have, and what these cost.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use honelm_blocks::Encoding;
use honelm_compress::Encodings;
use honelm_model::{Module, Slot, Tree};

use crate::types::matrices;

/// The encodings to choose from where rows are whole blocks of 256 values, and those for other rows. Encodings that are
/// larger than another one and never better are left out.
const WIDE: [Encoding; 8] = [
    Encoding::Q2K,
    Encoding::Q3K,
    Encoding::IQ3S,
    Encoding::IQ4XS,
    Encoding::Q4K,
    Encoding::Q5K,
    Encoding::Q6K,
    Encoding::Q8_0,
];
const NARROW: [Encoding; 6] =
    [Encoding::Q4_0, Encoding::IQ4NL, Encoding::Q4_1, Encoding::Q5_0, Encoding::Q5_1, Encoding::Q8_0];
/// The number of bits more than in the layers that are offered for embedding and output layer.
const OUTER_BITS: f64 = 2.0;
/// The alignment of tensors in a GGUF file.
const ALIGNMENT: u64 = 32;

/// An encoding that a unit can have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub encoding: Encoding,
    /// The bytes of all tensors of the unit in a file, with padding.
    pub bytes: u64,
    /// The predicted KL divergence that it causes, in nats.
    pub kl: f64,
}

/// Tensors that get the same encoding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    pub slots: Vec<Slot>,
    /// Ascending in bytes.
    pub levels: Vec<Level>,
}

/// The number of a level for each unit.
pub(super) type Levels = Vec<usize>;

/// The encodings of some matrices.
pub(super) type Choice = BTreeMap<Slot, Encoding>;

/// Returns the units of a model with the encodings whose bits are within a range. Tensors in `fixed` have one encoding.
pub(super) fn units(tree: &Tree, fixed: &Choice, tie_fused: bool, bits: &RangeInclusive<f64>) -> Vec<Unit> {
    let mut units: Vec<(Option<(usize, u8)>, Unit)> = Vec::new();
    for slot in matrices(tree) {
        let Some(module) = tree.module(slot) else { continue };
        let encodings = match fixed.get(&slot) {
            Some(&encoding) => vec![encoding.for_columns(module.shape[1])],
            None => encodings(module, slot.layer.is_none(), bits),
        };
        let key = slot.layer.filter(|_| tie_fused && !fixed.contains_key(&slot)).map(|layer| (layer, module.stage));
        match units.iter_mut().find(|(other, _)| key.is_some() && *other == key) {
            // Tensors of a stage have inputs of the same width, and so the same encodings.
            Some((_, unit)) => {
                unit.slots.push(slot);
                unit.levels.iter_mut().for_each(|level| level.bytes += bytes(module, level.encoding));
            }
            None => {
                let level = |encoding| Level { encoding, bytes: bytes(module, encoding), kl: 0.0 };
                units.push((key, Unit { slots: vec![slot], levels: encodings.into_iter().map(level).collect() }));
            }
        }
    }
    units.into_iter().map(|(_, unit)| unit).collect()
}

/// Returns the encodings of a matrix with bits in a range, or the nearest one if there is none, ascending in size.
fn encodings(module: &Module, is_outer: bool, bits: &RangeInclusive<f64>) -> Vec<Encoding> {
    let fits = |e: &Encoding| module.shape[1].is_multiple_of(e.block_len());
    let wide = WIDE.iter().all(fits);
    let known: Vec<Encoding> = if wide { WIDE.to_vec() } else { NARROW.into_iter().filter(fits).collect() };
    let most = bits.end() + if is_outer { OUTER_BITS } else { 0.0 };
    let within = |e: &Encoding| (*bits.start()..=most).contains(&e.bits_per_weight());
    let distance = |e: &Encoding| {
        let b = e.bits_per_weight();
        (bits.start() - b).max(b - most)
    };
    let mut found: Vec<Encoding> = known.iter().copied().filter(within).collect();
    if found.is_empty() {
        let nearest = known.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        found.push(nearest.unwrap_or(Encoding::F16));
    }
    found.sort_by(|a, b| a.bits_per_weight().total_cmp(&b.bits_per_weight()));
    found
}

fn bytes(module: &Module, encoding: Encoding) -> u64 {
    let row = encoding.row_bytes(module.shape[1]).unwrap_or(0) as u64;
    (row * module.shape[0] as u64).next_multiple_of(ALIGNMENT)
}

/// Returns the encodings in which each matrix is needed.
pub(super) fn needed(units: &[Unit]) -> Encodings {
    let of = |unit: &Unit| unit.levels.iter().map(|level| level.encoding).collect::<Vec<_>>();
    units.iter().flat_map(|unit| unit.slots.iter().map(move |&slot| (slot, of(unit)))).collect()
}

/// Returns the encodings that levels stand for.
pub(super) fn choice(units: &[Unit], levels: &[usize]) -> Choice {
    let all = units.iter().zip(levels);
    all.flat_map(|(unit, &level)| unit.slots.iter().map(move |&slot| (slot, unit.levels[level].encoding))).collect()
}

/// Returns the bytes of all tensors.
pub(super) fn bytes_of(units: &[Unit], levels: &[usize]) -> u64 {
    units.iter().zip(levels).map(|(unit, &level)| unit.levels[level].bytes).sum()
}

/// Returns the predicted KL divergence: the sum over units (Malinovskii et al. 2024, theorem 1).
pub(super) fn predicted(units: &[Unit], levels: &[usize]) -> f64 {
    units.iter().zip(levels).map(|(unit, &level)| unit.levels[level].kl).sum()
}

#[cfg(test)]
mod tests {
    use honelm_model::Checkpoint;

    use super::*;

    #[test]
    fn tied_units_hold_the_modules_of_a_stage() {
        let checkpoint = Checkpoint::synthetic("llama-3.2-1b", Encoding::F16, 1).expect("a shape");
        let tree = checkpoint.tree();
        let all = units(tree, &Choice::new(), false, &(2.0..=9.0));
        // The embedding, and 7 modules in each of 16 layers.
        assert_eq!(all.len(), 1 + 7 * 16);
        assert!(all.iter().all(|unit| unit.levels.len() == WIDE.len() && unit.levels.is_sorted_by_key(|l| l.bytes)));
        let q = Slot { layer: Some(3), module: "q" };
        let fixed = Choice::from([(q, Encoding::Q8_0)]);
        let tied = units(tree, &fixed, true, &(2.0..=5.0));
        assert_eq!(tied.len(), 1 + 4 * 16 + 1);
        let of = |slot: Slot| tied.iter().find(|unit| unit.slots.contains(&slot)).expect("a unit");
        assert_eq!((of(q).slots.len(), of(q).levels.len()), (1, 1));
        assert_eq!(of(Slot { layer: Some(3), module: "v" }).slots.len(), 2);
        assert_eq!(of(Slot { layer: Some(4), module: "v" }).slots.len(), 3);
        assert_eq!(of(q).levels[0].bytes, 2048 * 2048 / 32 * 34);
    }
}
