//! Models of other sizes than their files: pruned ones, whose weights are given.

use std::fmt;
use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use super::{Checkpoint, Store};
use crate::arch::{self, Family};
use crate::gguf_keys::{Form, Key};
use crate::{Channels, ModelError, Parameters};

/// The sizes of a model that has been made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    /// The layers of the original that are left, in ascending order.
    pub layers: Vec<usize>,
    /// The number of query heads of a layer.
    pub heads: usize,
    /// The number of key-value heads of a layer.
    pub kv_heads: usize,
    /// The number of neurons of a feed-forward network.
    pub ffn: usize,
    /// The width of the hidden states.
    pub width: usize,
}

/// Weights that are given instead of read.
pub(super) struct Given(pub(super) Rc<dyn Parameters>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(..)")
    }
}

impl Checkpoint {
    /// Returns the sizes of the model.
    #[must_use]
    pub fn sizes(&self) -> Resize {
        let cache = self.blueprint.definition.cache(0);
        let inputs = |of_heads: bool| {
            let mut modules = self.blueprint.tree.layers.first().into_iter().flatten();
            let is_consumer = |channels: &Channels| (channels.head_width > 1) == of_heads;
            modules.find(|m| m.computed_by.first().is_some_and(is_consumer)).map_or(0, |module| module.shape[1])
        };
        Resize {
            layers: (0..self.facts().layers).collect(),
            heads: inputs(true) / cache.head_width.max(1),
            kv_heads: cache.kv_heads,
            ffn: inputs(false),
            width: self.facts().width,
        }
    }

    /// Returns the model with other sizes, and with the weights of `weights`. It has the origin, the settings and the name of this
    /// one, so that it can be run and written in its place.
    ///
    /// # Errors
    /// [`ModelError::NotResizable`] for sizes that a configuration of this architecture cannot express.
    pub fn resized(&self, sizes: &Resize, weights: Rc<dyn Parameters>) -> Result<Self, ModelError> {
        let family = arch::family_of(&self.blueprint);
        let full = self.blueprint.definition.config();
        let (name, changed) = (&self.facts().name, resized_config(self, family, sizes, &full, full.clone())?);
        let blueprint = arch::blueprint(name, name.clone(), &Json::Object(changed))?;
        let own = match self.config.as_object() {
            Some(own) if own.get("model_type") == full.get("model_type") => own.clone(),
            _ => full.clone(),
        };
        let mut config = resized_config(self, family, sizes, &full, own)?;
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if let Some(id) = self.config.get(key) {
                config.insert(key.to_owned(), id.clone());
            }
        }
        Ok(Self {
            blueprint,
            origin: self.origin.clone(),
            store: Store::Given(Given(weights)),
            config: Json::Object(config),
            generation_config: self.generation_config.clone(),
            embedding: self.embedding,
            files: Vec::new(),
            warnings: Vec::new(),
            read: Vec::new(),
        })
    }

    /// Checks that Hugging Face's own readers open the model in a folder.
    ///
    /// # Errors
    /// [`ModelError::NotResizable`].
    pub fn check_heads(&self) -> Result<(), ModelError> {
        let sizes = self.sizes();
        if !self.blueprint.tree.heads_divide_width || sizes.width.is_multiple_of(sizes.heads) {
            return Ok(());
        }
        let Resize { heads, width, .. } = sizes;
        let mut near: Vec<usize> = (1..=width).filter(|n| width.is_multiple_of(*n)).collect();
        near.sort_by_key(|n| n.abs_diff(heads));
        Err(not_resizable(format!(
            "found {heads} heads and a width of {width}, which transformers does not open for {}: expected a divisor of the \
             width, the nearest is {}; a GGUF file can have any number of heads",
            self.facts().architecture,
            near.first().copied().unwrap_or(1),
        )))
    }
}

/// Returns `config` with other sizes. The fields are those that the architecture's table has for GGUF's keys.
fn resized_config(
    checkpoint: &Checkpoint,
    family: &'static Family,
    sizes: &Resize,
    full: &Map<String, Json>,
    mut config: Map<String, Json>,
) -> Result<Map<String, Json>, ModelError> {
    let old = checkpoint.sizes();
    let rows = || family.keys.iter().copied().flatten();
    let field = |gguf: &str| rows().find(|key| key.gguf == gguf).map(|key: &Key| key.field);
    let mut set = |gguf: &str, found: usize, before: usize| match field(gguf) {
        Some(field) => {
            config.insert(field.to_owned(), json!(found));
            Ok(())
        }
        None if found == before => Ok(()),
        None => Err(not_resizable(format!(
            "the configuration of {} has no field for {gguf}: found {found}, expected {before}",
            family.model_type
        ))),
    };
    set("block_count", sizes.layers.len(), old.layers.len())?;
    set("feed_forward_length", sizes.ffn, old.ffn)?;
    set("embedding_length", sizes.width, old.width)?;
    if (sizes.heads, sizes.kv_heads, sizes.width) != (old.heads, old.kv_heads, old.width) {
        // Without a width of its own, a head's would follow from the number of heads.
        set("attention.key_length", checkpoint.blueprint.definition.cache(0).head_width, 0)?;
    }
    set("attention.head_count", sizes.heads, old.heads)?;
    if old.kv_heads != old.heads || sizes.kv_heads != sizes.heads || field("attention.head_count_kv").is_some() {
        set("attention.head_count_kv", sizes.kv_heads, old.kv_heads)?;
    }
    for key in rows().filter(|key| matches!(key.form, Form::LayerTypes { .. } | Form::RopeLayers { .. })) {
        let list = full.get(key.field).and_then(Json::as_array).filter(|list| list.len() == old.layers.len());
        if let Some(list) = list.filter(|_| sizes.layers.len() < old.layers.len()) {
            config.insert(key.field.to_owned(), sizes.layers.iter().map(|&i| list[i].clone()).collect());
        }
    }
    Ok(config)
}

fn not_resizable(problem: String) -> ModelError {
    ModelError::NotResizable { problem }
}
