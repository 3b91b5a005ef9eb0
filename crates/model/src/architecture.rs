use std::rc::Rc;

use honelm_backend::{Backend, BackendError, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Tensor};
use serde_json::{Map, Value as Json};

use crate::{ModelError, Module, Slot, Tree, Weights};

/// The properties of a model that do not depend on its architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Hugging Face's `model_type`.
    pub architecture: &'static str,
    /// The model's name: `general.name`, or that of the folder or file.
    pub name: String,
    /// The number of layers.
    pub layers: usize,
    /// The width of the hidden states (D).
    pub width: usize,
    /// The number of rows of the embedding (V).
    pub vocabulary: usize,
    /// The model's own context limit in tokens.
    pub context: usize,
    /// The number of values in all weights and biases; tied weights count once.
    pub parameters: u64,
    /// `true` for an encoder: it computes the hidden states of whole texts, and has no output layer to generate from.
    pub encoder: bool,
}

/// The number of values in the largest matrix of a step: 64 MiB in f32. A step holds several such matrices at a time.
const STEP_VALUES: usize = 1 << 24;
/// The minimum of [`Blueprint::step_rows`]; with fewer rows, long prompts take too long.
const LEAST_ROWS: usize = 16;
/// The maximum of [`Facts::output_rows`]: with most vocabularies, logits are the largest matrix of a step.
const OUTPUT_ROWS: usize = 64;

impl Facts {
    /// Checks that the model can generate and score texts.
    ///
    /// # Errors
    /// [`ModelError::Encoder`].
    pub fn check_generates(&self) -> Result<(), ModelError> {
        if self.encoder { Err(ModelError::Encoder { architecture: self.architecture }) } else { Ok(()) }
    }

    /// Returns the number of rows whose logits are in memory at a time.
    #[must_use]
    pub fn output_rows(&self) -> usize {
        (STEP_VALUES / self.vocabulary.max(1)).clamp(1, OUTPUT_ROWS)
    }
}

/// The forward pass of a model with bound weights: all, or those of some parts.
///
/// A forward pass calls `embed`, `layer(i)` for each layer, `finish` and `logits`. The parts are separate, so that
/// compression can load one layer at a time. Parts that are not bound must not be called.
pub trait Architecture {
    /// Computes the embeddings of the step's tokens, and adds those of their positions if positions are learned.
    /// // -> [N, D]
    fn embed(&self, b: &mut dyn Backend) -> Tensor;
    /// Runs layer `i`. // [N, D] -> [N, D]
    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor;
    /// Applies the last norm; the result is the final hidden state. // [N, D] -> [N, D]
    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor;
    /// Applies the output layer to final hidden states. Encoders have none. // [N, D] -> [N, V]
    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor;
}

/// The shape of the key-value cache of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// The positions that the layer attends to.
    pub kind: CacheKind,
    /// The number of key-value heads (G).
    pub kv_heads: usize,
    /// The width of a head (E).
    pub head_width: usize,
}

/// A parsed configuration: the description of a model without its weights.
pub trait Definition: std::fmt::Debug {
    /// Returns the tree of all weights.
    fn tree(&self) -> Tree;
    /// Returns `true` for an encoder; see [`Facts::encoder`].
    fn is_encoder(&self) -> bool {
        false
    }
    /// Returns the model's own context limit in tokens.
    fn context(&self) -> usize;
    /// Returns the cache shape of layer `i`.
    fn cache(&self, i: usize) -> CacheShape;
    /// Returns the configuration in Hugging Face's form, with every default written out.
    fn config(&self) -> Map<String, Json>;
    /// Composes the forward pass from uploaded weights, for sequences of up to `context` tokens.
    ///
    /// # Errors
    /// An error of the device.
    fn bind(
        &self,
        weights: &Weights,
        context: usize,
        b: &mut dyn Backend,
    ) -> Result<Box<dyn Architecture>, BackendError>;
}

/// The description of a model without its weights.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The general properties.
    pub facts: Facts,
    /// The names and shapes of the weights.
    pub tree: Tree,
    /// The configuration.
    pub definition: Rc<dyn Definition>,
}

/// The number of tokens per page of the cache.
const PAGE_LEN: usize = 64;

impl Blueprint {
    /// Derives the facts and the tree from a configuration.
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
            encoder: definition.is_encoder(),
        };
        Self { facts, tree, definition }
    }

    /// Returns the module of a slot.
    ///
    /// # Errors
    /// [`ModelError::UnknownSlot`].
    pub fn module(&self, slot: Slot) -> Result<&Module, ModelError> {
        let unknown = || ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() };
        self.tree.module(slot).ok_or_else(unknown)
    }

    /// Returns the largest number of rows that a step should have, given the memory of its activations: small models can
    /// have very wide modules. The result is at least 512 if no module is wider than 32,768.
    #[must_use]
    pub fn step_rows(&self) -> usize {
        let modules = self.tree.layers.iter().flatten().chain(&self.tree.embed);
        let widest = modules.flat_map(|module| module.shape).max().unwrap_or(1);
        (STEP_VALUES / widest.max(1)).max(LEAST_ROWS)
    }

    /// Returns the shape of the cache of all layers.
    #[must_use]
    pub fn cache_spec(&self, element: CacheType) -> CacheSpec {
        self.cache_spec_of(&(0..self.facts.layers).collect::<Vec<_>>(), element)
    }

    /// Returns the shape of a cache of some layers; layers that attend to the same positions share a group.
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
