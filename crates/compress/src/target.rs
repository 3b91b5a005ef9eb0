//! The encoding that every matrix of a model gets.

use std::fmt;
use std::sync::Arc;

use honelm_blocks::Encoding;
use honelm_model::{Kind, Module, Slot, StoredEncoding, Tree};

use crate::{Importance, Recipe};

/// The encoding of a compressed matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The encoding of the checkpoint.
    Keep,
    /// Row-wise blocks or floats.
    Block(Encoding),
    /// Integer groups.
    Groups {
        /// Bits per code.
        bits: u8,
        /// Columns per group; 0 for the whole row.
        group_size: usize,
        /// `true` if the zero point is fixed in the middle of the codes.
        symmetric: bool,
    },
}

impl Target {
    /// Returns the target that a matrix of `cols` columns can have: an encoding whose blocks do not fill its rows is
    /// replaced by the next larger one, as in llama.cpp.
    #[must_use]
    pub fn for_columns(self, cols: usize) -> Self {
        match self {
            Self::Block(encoding) => Self::Block(encoding.for_columns(cols)),
            other => other,
        }
    }

    /// Returns `true` if a matrix of `cols` columns that is stored as `stored` has this target. [`Target::Keep`] is met by
    /// every encoding.
    #[must_use]
    pub fn is_met_by(self, stored: StoredEncoding, cols: usize) -> bool {
        match (self, stored) {
            (Self::Keep, _) => true,
            (Self::Block(wanted), StoredEncoding::Blocks(found)) => wanted == found,
            (
                Self::Groups { bits, group_size, symmetric },
                StoredEncoding::Groups { bits: found_bits, group_size: found_size, symmetric: found_symmetric, .. },
            ) => {
                let size = if group_size == 0 { cols.max(1) } else { group_size };
                bits == found_bits && size == found_size && (found_symmetric || !symmetric)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("as it is"),
            Self::Block(e) => f.write_str(e.display_name()),
            Self::Groups { bits, group_size: 0, .. } => write!(f, "int{bits} rows"),
            Self::Groups { bits, group_size, .. } => write!(f, "int{bits} g{group_size}"),
        }
    }
}

/// The target of every matrix, and the recipe that leads there.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheme {
    /// The target of the linear modules of the layers.
    pub linear: Target,
    /// The target of the token embedding.
    pub embedding: Target,
    /// The target of the output layer, where it is not the embedding.
    pub output: Target,
    /// The steps that compress the linear modules of the layers. Embedding and output layer are rounded to nearest.
    pub recipe: Recipe,
    /// The importance of the columns, which weights the search for scales of the recipe `rtn` and of the output layer.
    pub importance: Option<Arc<Importance>>,
}

/// A matrix whose rows cannot be divided into blocks of the encoding that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// The matrix.
    pub slot: Slot,
    /// The number of its rows.
    pub rows: usize,
    /// The number of its columns.
    pub columns: usize,
    /// The encoding that was asked for.
    pub wanted: Encoding,
    /// The encoding that it gets.
    pub made: Encoding,
}

impl Scheme {
    /// Returns a scheme with the linear modules in `encoding`. Embedding and output layer become Q6_K as in llama.cpp's
    /// mixes, or `encoding` where that has more than 8 bits per weight.
    #[must_use]
    pub fn gguf(encoding: Encoding, recipe: Recipe) -> Self {
        let table = Target::Block(if encoding.bits_per_weight() > 8.0 { encoding } else { Encoding::Q6K });
        Self { linear: Target::Block(encoding), embedding: table, output: table, recipe, importance: None }
    }

    /// Returns a scheme with integer groups as GPTQ checkpoints hold them; embedding and output layer stay as they are.
    #[must_use]
    pub fn gptq(bits: u8, group_size: usize, symmetric: bool, recipe: Recipe) -> Self {
        let linear = Target::Groups { bits, group_size, symmetric };
        Self { linear, embedding: Target::Keep, output: Target::Keep, recipe, importance: None }
    }

    /// Returns the scheme with the importance of the columns.
    #[must_use]
    pub fn with_importance(self, importance: Option<Importance>) -> Self {
        Self { importance: importance.map(Arc::new), ..self }
    }

    /// Returns the importance of the columns of a matrix. // `[K]`
    pub(crate) fn importance_of(&self, slot: Slot) -> Option<&[f32]> {
        self.importance.as_deref()?.of(slot)
    }

    /// Returns the target that `module` should have.
    fn wanted(&self, slot: Slot, module: &Module) -> Target {
        match module.kind {
            Kind::Norm | Kind::Positions => Target::Keep,
            Kind::Embedding => self.embedding,
            Kind::Linear if slot.layer.is_some() => self.linear,
            Kind::Linear => self.output,
        }
    }

    /// Returns the target that `module` gets.
    #[must_use]
    pub fn target(&self, tree: &Tree, slot: Slot, module: &Module) -> Target {
        debug_assert!(tree.module(slot).is_some());
        self.wanted(slot, module).for_columns(module.shape[1])
    }

    /// Returns the matrices of `tree` that get another encoding than the one that was asked for.
    #[must_use]
    pub fn fallbacks(&self, tree: &Tree) -> Vec<Fallback> {
        let fallback = |slot| {
            let module = tree.module(slot)?;
            match (self.wanted(slot, module), self.target(tree, slot, module)) {
                (Target::Block(wanted), Target::Block(made)) if wanted != made => {
                    let [rows, columns] = [module.shape[0], module.shape[1]];
                    Some(Fallback { slot, rows, columns, wanted, made })
                }
                _ => None,
            }
        };
        tree.slots().filter_map(fallback).collect()
    }

    /// Returns a text with everything that decides the result, for the journal's key.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { linear, embedding, output, recipe, importance } = self;
        let importance = importance.as_deref().map_or("", Importance::digest);
        format!("{linear:?} {embedding:?} {output:?} {} {importance}", recipe.describe())
    }
}
