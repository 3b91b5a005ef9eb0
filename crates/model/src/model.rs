use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{
    Backend, Batch, Cache, CacheSpec, CacheType, SavedSequence, SequenceId, Sequences, Ticket, Token, Truncated,
};
use honelm_tensor::Matrix;

use crate::runner::{CacheUse, ReadStep};
use crate::weights::{Network, Weights};
use crate::{Blueprint, Facts, Loader, ModelError, Parameters, Runner, saved, step};

/// A back end, which several models can share, so that one can draft for another.
pub type Device = Rc<RefCell<dyn Backend>>;

/// The longest default context. The cache for a model's own limit can be larger than its weights.
pub const DEFAULT_CONTEXT: usize = 8192;

/// The options for loading a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The maximum number of tokens in a sequence; by default the smaller of [`DEFAULT_CONTEXT`] and the model's own limit.
    pub context: Option<usize>,
    /// The number type of cached keys and values.
    pub cache_type: CacheType,
    /// The number of accepted tokens that can always be removed again, even from a sliding window.
    pub slack: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { context: None, cache_type: CacheType::default(), slack: 16 }
    }
}

impl LoadOptions {
    /// Returns the context of a model in tokens.
    ///
    /// # Errors
    /// [`ModelError::ContextTooLong`] if the requested context exceeds the model's own limit.
    pub fn context_of(&self, facts: &Facts) -> Result<usize, ModelError> {
        match self.context {
            None => Ok(facts.context.min(DEFAULT_CONTEXT)),
            Some(wanted) if wanted > facts.context => Err(ModelError::ContextTooLong { wanted, limit: facts.context }),
            Some(wanted) => Ok(wanted.max(1)),
        }
    }
}

/// A loaded model.
pub struct Model {
    blueprint: Blueprint,
    network: Network,
    cache: Cache,
    sequences: Sequences,
    slack: usize,
    device: Device,
}

impl Model {
    /// Uploads all weights of `params`; [`Loader`] does the same step by step.
    ///
    /// # Errors
    /// Invalid options, an invalid weight, or an error of the device.
    pub fn load(
        blueprint: &Blueprint,
        params: &dyn Parameters,
        device: Device,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        options.context_of(&blueprint.facts)?;
        let mut loader = Loader::new(blueprint);
        while loader.advance(params, &mut *device.borrow_mut())? {}
        loader.finish(device, options)
    }

    /// Creates a model from weights that have been uploaded to `device`.
    ///
    /// # Errors
    /// Invalid options, or an error of the device.
    pub fn new(
        blueprint: &Blueprint,
        weights: Weights,
        device: Device,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let context = options.context_of(&blueprint.facts)?;
        let spec = blueprint.cache_spec(options.cache_type);
        let (name, block) = (spec.element.name(), spec.element.block_len());
        if let Some(layer) = spec.layers.iter().find(|layer| !layer.head_width.is_multiple_of(block)) {
            return Err(ModelError::CacheType { name, head_width: layer.head_width, block });
        }
        let mut sequences = Sequences::new(&spec.groups, spec.page_len, context, options.slack);
        sequences.set_limit(&page_bytes(&spec), None);
        let (network, cache) = {
            let mut backend = device.borrow_mut();
            (Network::new(blueprint, weights, context, &mut *backend)?, backend.create_cache(spec)?)
        };
        Ok(Self { blueprint: blueprint.clone(), network, cache, sequences, slack: options.slack, device })
    }

    /// Returns the weights and the forward pass.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the description of the model without its weights.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Returns the device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// Returns the bytes of a page of each group.
fn page_bytes(spec: &CacheSpec) -> Vec<usize> {
    (0..spec.groups.len()).map(|group| spec.page_bytes(group)).collect()
}

impl Runner for Model {
    fn facts(&self) -> &Facts {
        &self.blueprint.facts
    }

    fn context(&self) -> usize {
        self.sequences.context()
    }

    fn step_rows(&self) -> usize {
        self.blueprint.step_rows()
    }

    fn describe(&self) -> String {
        self.device.borrow().describe()
    }

    fn arithmetic(&self) -> String {
        self.device.borrow().arithmetic()
    }

    fn is_batch_invariant(&self) -> bool {
        self.device.borrow().is_batch_invariant()
    }

    fn steps_in_flight(&self) -> usize {
        self.device.borrow().steps_in_flight()
    }

    fn sequence_bytes(&self, tokens: usize) -> usize {
        self.cache.spec().sequence_bytes(tokens, self.step_rows().min(tokens), self.slack)
    }

    fn set_cache_limit(&mut self, bytes: Option<usize>) {
        self.sequences.set_limit(&page_bytes(self.cache.spec()), bytes);
    }

    fn cache_use(&self) -> CacheUse {
        let sequences = self.sequences.open_count();
        CacheUse { held: self.sequences.bytes_held(), limit: self.sequences.limit(), sequences }
    }

    fn open(&mut self) -> SequenceId {
        self.sequences.open()
    }

    fn close(&mut self, id: SequenceId) -> Result<(), ModelError> {
        Ok(self.sequences.close(id)?)
    }

    fn len(&self, id: SequenceId) -> Result<usize, ModelError> {
        Ok(self.sequences.len(id)?)
    }

    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError> {
        let known = batch.tokens.iter().filter_map(|token| match token {
            Token::Id(id) => Some(*id),
            Token::Sampled(..) => None,
        });
        step::check_tokens(known, self.blueprint.facts.vocabulary)?;
        step::check_wants(&self.blueprint.facts, batch)?;
        let (network, cache, facts) = (&self.network, &self.cache, &self.blueprint.facts);
        let mut backend = self.device.borrow_mut();
        self.sequences.step_with(batch, |described| {
            backend.begin(described, cache)?;
            step::forward(network.architecture(), facts, batch, cache, &mut *backend);
            Ok(backend.submit())
        })
    }

    fn read(&mut self, ticket: Ticket) -> ReadStep {
        let read = self.device.borrow_mut().read(ticket);
        Box::pin(async move { Ok(step::collect(read.await?)) })
    }

    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError> {
        Ok(self.sequences.accept(id, path)?)
    }

    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError> {
        Ok(self.sequences.truncate(id, len)?)
    }

    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError> {
        Ok(self.sequences.fork(id)?)
    }

    fn cache_spec(&self) -> &CacheSpec {
        self.cache.spec()
    }

    fn saved(&self, id: SequenceId) -> Result<SavedSequence, ModelError> {
        Ok(self.sequences.saved(id)?)
    }

    fn export(&mut self, id: SequenceId, layer: usize) -> Result<Ticket, ModelError> {
        saved::export(&self.cache, &mut self.sequences, &mut *self.device.borrow_mut(), id, layer)
    }

    fn open_saved(&mut self, shape: &SavedSequence) -> Result<SequenceId, ModelError> {
        saved::open(&self.cache, &mut self.sequences, &mut *self.device.borrow_mut(), shape)
    }

    fn import(&mut self, id: SequenceId, layer: usize, cells: &[u8]) -> Result<Ticket, ModelError> {
        saved::import(&self.cache, &mut self.sequences, &mut *self.device.borrow_mut(), id, layer, cells)
    }

    fn logits(&mut self, hidden: &Matrix) -> Result<Matrix, ModelError> {
        let architecture = self.network.architecture();
        let mut backend = self.device.borrow_mut();
        let facts = &self.blueprint.facts;
        facts.check_generates()?;
        step::output_layer(hidden, facts, &self.cache, &mut *backend, &|x, b| architecture.logits(x, b))
    }
}
