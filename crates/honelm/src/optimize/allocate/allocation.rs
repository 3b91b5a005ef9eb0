//! The result of an allocation, with the reasons.

use std::collections::BTreeMap;

use honelm_model::Tree;
use serde::{Deserialize, Serialize};

use super::units::{Unit, bytes_of, predicted};
use crate::types::gguf_tensor;

/// The choice of an encoding for each tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// The name of the candidate.
    pub name: String,
    /// The largest size allowed in bytes; `None` where the budget decides.
    pub target_bytes: Option<u64>,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// The bits of the file divided by the number of parameters.
    pub bits_per_weight: f64,
    /// The KL divergence that the tensors' own sensitivities predict, in nats.
    pub predicted_kl: f64,
    /// The KL divergence of the mix of tensors that were rounded one by one, measured on the search's half of the held-out
    /// text; `None` for a mix that was not searched.
    pub measured_kl: Option<f64>,
    /// The same of the mix that the search began with.
    pub first_kl: Option<f64>,
    /// The number of mixes measured: single tensors, then whole mixes.
    pub evaluations: [usize; 2],
    /// The groups of tensors that share an encoding, in the order of the model.
    pub groups: Vec<Group>,
    /// The lowest predicted KL divergence at some sizes, ascending.
    pub frontier: Vec<FrontierPoint>,
}

/// Tensors that share an encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The names in GGUF.
    pub tensors: Vec<String>,
    /// The encoding.
    pub encoding: String,
    /// The bits per weight of the encoding.
    pub bits: f64,
    /// The bytes in the file.
    pub size_bytes: u64,
    /// The predicted KL divergence that the group causes, in nats.
    pub kl: f64,
    /// The share of the mix's predicted KL divergence.
    pub kl_share_percent: f64,
    /// The next larger encoding.
    pub up: Option<StepTo>,
    /// The next smaller encoding.
    pub down: Option<StepTo>,
}

/// The changes by another encoding of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTo {
    /// The encoding.
    pub encoding: String,
    /// The change of the size in bytes.
    pub size_bytes: i64,
    /// The change of the predicted KL divergence in nats.
    pub kl: f64,
}

/// A point of the predicted frontier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// The size of a file in bytes.
    pub size_bytes: u64,
    /// The lowest predicted KL divergence of a file of this size, in nats.
    pub kl: f64,
}

impl Allocation {
    /// Describes levels. `rest` are the bytes of a file beside the tensors that were chosen for, `factors` correct the
    /// predicted losses.
    pub(super) fn new(
        name: String,
        tree: &Tree,
        units: &[Unit],
        levels: &[usize],
        factors: &[f64],
        (rest, parameters): (u64, u64),
    ) -> Self {
        let units: Vec<Unit> = corrected(units, factors);
        let total = predicted(&units, levels);
        let group = |(unit, &at): (&Unit, &usize)| {
            let now = unit.levels[at];
            let step = |at: Option<usize>| {
                let to = unit.levels.get(at?)?;
                Some(StepTo {
                    encoding: to.encoding.display_name().to_owned(),
                    size_bytes: to.bytes as i64 - now.bytes as i64,
                    kl: to.kl - now.kl,
                })
            };
            // Steps between encodings of one size change the loss alone, and are left out.
            let larger = (at + 1..unit.levels.len()).find(|&other| unit.levels[other].bytes > now.bytes);
            let smaller = (0..at).rev().find(|&other| unit.levels[other].bytes < now.bytes);
            Group {
                tensors: unit.slots.iter().map(|&slot| gguf_tensor(tree, slot)).collect(),
                encoding: now.encoding.display_name().to_owned(),
                bits: now.encoding.bits_per_weight(),
                size_bytes: now.bytes,
                kl: now.kl,
                kl_share_percent: if total > 0.0 { 100.0 * now.kl / total } else { 0.0 },
                up: step(larger),
                down: step(smaller),
            }
        };
        let size_bytes = rest + bytes_of(&units, levels);
        Self {
            name,
            target_bytes: None,
            size_bytes,
            bits_per_weight: size_bytes as f64 * 8.0 / parameters.max(1) as f64,
            predicted_kl: total,
            measured_kl: None,
            first_kl: None,
            evaluations: [0; 2],
            groups: units.iter().zip(levels).map(group).collect(),
            frontier: Vec::new(),
        }
    }

    /// Returns the encoding of every tensor.
    #[must_use]
    pub fn tensor_types(&self) -> BTreeMap<String, String> {
        let of = |group: &Group| {
            let encoding = group.encoding.clone();
            group.tensors.clone().into_iter().map(move |tensor| (tensor, encoding.clone()))
        };
        self.groups.iter().flat_map(of).collect()
    }

    /// Returns the names of the tensors of a group, shortened: those of a layer share its prefix.
    #[must_use]
    pub fn group_name(group: &Group) -> String {
        let plain = |name: &String| name.trim_end_matches(".weight").to_owned();
        let first = group.tensors.first().map(plain).unwrap_or_default();
        let prefix = first.rfind('.').map_or("", |at| &first[..=at]).to_owned();
        let rest = group.tensors.iter().skip(1).map(|name| plain(name).trim_start_matches(&prefix).to_owned());
        std::iter::once(first.clone()).chain(rest).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the units with their losses times factors.
pub(super) fn corrected(units: &[Unit], factors: &[f64]) -> Vec<Unit> {
    let mut units = units.to_vec();
    for (unit, factor) in units.iter_mut().zip(factors) {
        unit.levels.iter_mut().for_each(|level| level.kl *= factor);
    }
    units
}
