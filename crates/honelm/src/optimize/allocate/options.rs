//! The options of allocation.

use crate::{TypeName, TypeRules};

/// The aim of an allocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The best file of at most this many bytes.
    Bytes(u64),
    /// The best file of at most this many bits per weight.
    BitsPerWeight(f64),
    /// The smallest file whose predicted loss is within the budget.
    Budget,
}

/// The search for the best mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// From the sensitivities of single tensors, corrected by measurements of mixes.
    #[default]
    Sensitivities,
    /// By random exchanges, for comparison. It measures as many mixes as the other measures tensors and mixes.
    Evolution,
}

/// Options about the encodings of single tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct AllocationOptions {
    /// The goal of the choice of an encoding for each tensor; `None` tries candidates that are fixed beforehand.
    pub goal: Option<Goal>,
    /// `true` to give the modules of a layer that share their input the same encoding.
    pub tie_fused: bool,
    /// The encodings and mixes to try; empty tries the usual ones.
    pub candidates: Vec<TypeName>,
    /// The search for the best mix.
    pub strategy: Strategy,
    /// Rules that precede the choice.
    pub types: TypeRules,
    /// `true` to return an error instead of a fallback to another encoding.
    pub strict: bool,
    /// The number of windows of the held-out text on which single tensors are measured.
    pub windows: usize,
    /// The number of windows on which mixes are compared.
    pub search_windows: usize,
    /// The largest number of mixes that the search measures.
    pub evaluations: usize,
    /// The number of mixes in a row without gain after which the search stops.
    pub patience: usize,
}

impl Default for AllocationOptions {
    fn default() -> Self {
        Self {
            goal: None,
            tie_fused: false,
            candidates: Vec::new(),
            strategy: Strategy::default(),
            types: TypeRules::default(),
            strict: false,
            windows: 4,
            search_windows: 12,
            evaluations: 60,
            patience: 16,
        }
    }
}

impl AllocationOptions {
    /// Returns a text with everything that decides the result, for the job's key; empty for the default settings.
    pub(crate) fn describe(&self) -> String {
        if *self == Self::default() { String::new() } else { format!("{self:?}") }
    }
}
