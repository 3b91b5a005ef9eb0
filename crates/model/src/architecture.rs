use std::rc::Rc;

use honelm_backend::{Backend, BackendError, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Tensor};
use serde_json::{Map, Value as Json};

use crate::{ModelError, Module, Slot, Tree, Weights};

/// What everybody may know of a model without knowing its architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Hugging Face's `model_type`.
    pub architecture: &'static str,
    /// The model's own name (folder or `general.name`).
    pub name: String,
    /// Blocks.
    pub layers: usize,
    /// Model width (D).
    pub width: usize,
    /// Rows of the embedding (V).
    pub vocabulary: usize,
    /// The model's own context limit in tokens.
    pub context: usize,
    /// Numbers in all weights, tied ones once.
    pub parameters: u64,
}

/// Values of the largest matrix that a step should make: 64 MiB. A step has a few of them at a time.
const STEP_VALUES: usize = 1 << 24;
/// Rows of a step in any case; with fewer a long prompt takes too long.
const LEAST_ROWS: usize = 16;
/// Rows that the output layer runs on at a time: with the vocabularies of most models, logits are the largest matrix of
/// a step.
const OUTPUT_ROWS: usize = 64;

impl Facts {
    /// Rows whose logits are in memory at a time.
    #[must_use]
    pub fn output_rows(&self) -> usize {
        (STEP_VALUES / self.vocabulary.max(1)).clamp(1, OUTPUT_ROWS)
    }
}

/// A model whose weights (all, or those of some layers) are bound to a back end.
///
/// The forward pass is `embed`, every `layer(i)`, `finish`, `logits`, composed once for all architectures, so
/// that compression can stream one layer at a time. A part that was not bound must not be called.
pub trait Architecture {
    /// Embeddings of the step's tokens, and of their positions where those are learned. // -> [N, D]
    fn embed(&self, b: &mut dyn Backend) -> Tensor;
    /// Decoder layer `i`. // [N, D] -> [N, D]
    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor;
    /// What follows the last layer, the norm: what is kept as the hidden state. // [N, D] -> [N, D]
    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor;
    /// The output layer on finished states. // [N, D] -> [N, V]
    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor;
}

/// What a layer keeps of past tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Which positions it sees.
    pub kind: CacheKind,
    /// Key-value heads (G).
    pub kv_heads: usize,
    /// Head width (E).
    pub head_width: usize,
}

/// A parsed configuration: all that is known of a model before its weights are read.
pub trait Definition: std::fmt::Debug {
    /// Every weight.
    fn tree(&self) -> Tree;
    /// The model's own context limit in tokens.
    fn context(&self) -> usize;
    /// What layer `i` keeps of past tokens.
    fn cache(&self, i: usize) -> CacheShape;
    /// The configuration in Hugging Face's form, every default written out.
    fn config(&self) -> Map<String, Json>;
    /// Composes the forward pass of uploaded weights for sequences of up to `context` tokens.
    fn bind(
        &self,
        weights: &Weights,
        context: usize,
        b: &mut dyn Backend,
    ) -> Result<Box<dyn Architecture>, BackendError>;
}

/// A model without its weights.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// What it is.
    pub facts: Facts,
    /// Its weights' names and shapes.
    pub tree: Tree,
    /// Its configuration.
    pub definition: Rc<dyn Definition>,
}

/// Cells a cache page.
const PAGE_LEN: usize = 64;

impl Blueprint {
    /// Derives facts and tree from a configuration.
    pub(crate) fn new(architecture: &'static str, name: String, definition: Rc<dyn Definition>) -> Self {
        let tree = definition.tree();
        let facts = Facts {
            architecture,
            name,
            layers: tree.layers.len(),
            width: tree.width(),
            vocabulary: tree.embedding().shape[0],
            context: definition.context(),
            parameters: tree.slots().filter_map(|slot| tree.module(slot)).map(Module::parameters).sum(),
        };
        Self { facts, tree, definition }
    }

    /// The module of a slot.
    pub fn module(&self, slot: Slot) -> Result<&Module, ModelError> {
        let unknown = || ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() };
        self.tree.module(slot).ok_or_else(unknown)
    }

    /// Most rows that a step should have, by the memory of its activations: a model of few bytes can have very wide
    /// layers. Layers of up to 32,768 values leave 512 rows.
    #[must_use]
    pub fn step_rows(&self) -> usize {
        let modules = self.tree.layers.iter().flatten().chain(&self.tree.embed);
        let widest = modules.flat_map(|module| module.shape).max().unwrap_or(1);
        (STEP_VALUES / widest.max(1)).max(LEAST_ROWS)
    }

    /// The shape of the cache of all layers.
    #[must_use]
    pub fn cache_spec(&self, element: CacheType) -> CacheSpec {
        self.cache_spec_of(&(0..self.facts.layers).collect::<Vec<_>>(), element)
    }

    /// The shape of a cache of some layers; layers of the same kind share a group.
    #[must_use]
    pub fn cache_spec_of(&self, layers: &[usize], element: CacheType) -> CacheSpec {
        let mut spec = CacheSpec { groups: Vec::new(), layers: Vec::new(), page_len: PAGE_LEN, element };
        for &i in layers {
            let CacheShape { kind, kv_heads, head_width } = self.definition.cache(i);
            let group = spec.groups.iter().position(|&other| other == kind).unwrap_or(spec.groups.len());
            if group == spec.groups.len() {
                spec.groups.push(kind);
            }
            spec.layers.push(LayerCache { kv_heads, head_width, group });
        }
        spec
    }
}
