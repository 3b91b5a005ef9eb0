//! A model in parts: one layer at a time with hidden states in and out, so that compression and evaluation need the
//! memory of one layer and never that of a model.

use honelm_backend::{Backend, Batch, Cache, CacheType, Observe, Outputs, Sequences, Step, Value, Want, Weight};
use honelm_tensor::Matrix;

use crate::weights::{Network, Weights};
use crate::{Blueprint, Checkpoint, Facts, LoadOptions, ModelError, Module, Parameters, Slot, step};

/// Key of a streamed part's result.
const RESULT: u32 = 0;

/// The way of hidden states through a model, one layer loaded at a time.
///
/// Keys and values are cached in f32; rotary frequencies are fixed for sequences of up to the stream's context.
#[derive(Debug)]
pub struct Stream {
    blueprint: Blueprint,
    context: usize,
    /// Stays loaded until the first layer is bound.
    embedding: Option<Network>,
}

/// One layer on a back end.
#[derive(Debug)]
pub struct Bound {
    network: Network,
    layer: usize,
}

impl Bound {
    /// The weight of a module of the layer.
    ///
    /// # Panics
    /// When the layer has no such module: a name that is not from its tree.
    #[must_use]
    pub fn weight(&self, module: &'static str) -> &Weight {
        self.network.weight(Slot { layer: Some(self.layer), module }).expect("a module of the layer's tree")
    }
}

impl Stream {
    /// A stream of sequences of up to `context` tokens; `backend` is where its parts will be bound.
    ///
    /// # Errors
    /// [`ModelError::ContextTooLong`] where that is more than the model can.
    pub fn new(checkpoint: &Checkpoint, context: usize, backend: &mut dyn Backend) -> Result<Self, ModelError> {
        let _ = backend;
        let blueprint = checkpoint.blueprint().clone();
        let options = LoadOptions { context: Some(context), ..LoadOptions::default() };
        let context = options.context_of(&blueprint.facts)?;
        Ok(Self { blueprint, context, embedding: None })
    }

    /// Token embeddings of sequences, one after the other. // -> [sum of lengths, D]
    ///
    /// # Errors
    /// A token outside of the vocabulary, what is wrong with the weight, why the device refuses.
    pub fn embed(
        &mut self,
        params: &dyn Parameters,
        sequences: &[Vec<u32>],
        backend: &mut dyn Backend,
    ) -> Result<Matrix, ModelError> {
        let (blueprint, lengths) = (&self.blueprint, sequences.iter().map(Vec::len).collect::<Vec<_>>());
        let tokens: Vec<u32> = sequences.concat();
        step::check_tokens(tokens.iter().copied(), blueprint.facts.vocabulary)?;
        if tokens.is_empty() {
            return Ok(Matrix::zeros(0, blueprint.facts.width));
        }
        let network = match self.embedding.take() {
            Some(network) => network,
            None => bind(blueprint, params, &outer(&blueprint.tree.embed), self.context, backend)?,
        };
        let (described, cache) = self.fresh(&[], &lengths, Some(&tokens), backend)?;
        backend.begin(described, &cache)?;
        let x = network.architecture().embed(backend);
        backend.output(RESULT, &x);
        drop(x);
        let ticket = backend.submit();
        self.embedding = Some(network);
        Ok(step::take_floats(step::finished(backend.read(ticket))?, RESULT).unwrap_or_default())
    }

    /// Loads layer `i` of `params`.
    ///
    /// # Errors
    /// [`ModelError::UnknownSlot`] where there is no such layer, what is wrong with a weight, why the device
    /// refuses.
    pub fn bind(&mut self, params: &dyn Parameters, i: usize, backend: &mut dyn Backend) -> Result<Bound, ModelError> {
        self.embedding = None;
        let unknown = || ModelError::UnknownSlot { layer: Some(i), module: "(any)".to_owned() };
        let modules = self.blueprint.tree.layers.get(i).ok_or_else(unknown)?;
        let slots: Vec<Slot> = modules.iter().map(|m| Slot { layer: Some(i), module: m.name }).collect();
        Ok(Bound { network: bind(&self.blueprint, params, &slots, self.context, backend)?, layer: i })
    }

    /// Runs a bound layer `i` on sequences that stand one after the other in `hidden`, each from position 0.
    /// // [sum of lengths, D] -> [sum of lengths, D]
    ///
    /// # Errors
    /// Shapes that do not fit, why the device refuses.
    pub fn run(
        &self,
        bound: &Bound,
        i: usize,
        hidden: &Matrix,
        lengths: &[usize],
        backend: &mut dyn Backend,
    ) -> Result<Matrix, ModelError> {
        let outputs = self.record(bound, i, hidden, lengths, backend)?;
        Ok(step::take_floats(outputs, RESULT).unwrap_or_else(|| Matrix::zeros(0, hidden.cols)))
    }

    /// The inputs of the linear layers that `observe` watches, in the order in which the layer reaches them: a run of the
    /// layer as [`Stream::run`] does it, through `observe`. // -> each [sum of lengths, K]
    ///
    /// # Errors
    /// As [`Stream::run`].
    pub fn observe(
        &self,
        bound: &Bound,
        i: usize,
        hidden: &Matrix,
        lengths: &[usize],
        observe: &mut Observe<'_>,
    ) -> Result<Vec<Matrix>, ModelError> {
        let outputs = self.record(bound, i, hidden, lengths, observe)?;
        let inputs = outputs.into_iter().filter_map(|(key, value)| match value {
            Value::Floats(matrix) if key & Observe::KEY != 0 => Some(matrix),
            _ => None,
        });
        Ok(inputs.collect())
    }

    fn record(
        &self,
        bound: &Bound,
        i: usize,
        hidden: &Matrix,
        lengths: &[usize],
        backend: &mut dyn Backend,
    ) -> Result<Outputs, ModelError> {
        let (width, rows) = (self.blueprint.facts.width, lengths.iter().sum());
        if hidden.cols != width {
            return Err(ModelError::WrongWidth { what: "a hidden state", found: hidden.cols, expected: width });
        }
        if hidden.rows != rows {
            return Err(ModelError::WrongRows { what: "hidden states", found: hidden.rows, expected: rows });
        }
        if rows == 0 {
            return Ok(Outputs::new());
        }
        let (described, cache) = self.fresh(&[i], lengths, None, backend)?;
        backend.begin(described, &cache)?;
        let x = backend.input(hidden);
        let y = bound.network.architecture().layer(i, x, backend, &cache);
        backend.output(RESULT, &y);
        drop(y);
        let ticket = backend.submit();
        step::finished(backend.read(ticket))
    }

    /// One step of fresh sequences of these lengths, and a cache of some layers for it.
    fn fresh(
        &self,
        layers: &[usize],
        lengths: &[usize],
        tokens: Option<&[u32]>,
        backend: &mut dyn Backend,
    ) -> Result<(Step, Cache), ModelError> {
        let spec = self.blueprint.cache_spec_of(layers, CacheType::F32);
        let mut sequences = Sequences::new(&spec.groups, spec.page_len, self.context, 0);
        let mut batch = Batch::default();
        let mut start = 0;
        for &len in lengths {
            // Blocks do not look at tokens.
            let zeros = vec![0; if tokens.is_none() { len } else { 0 }];
            let tokens = tokens.map_or(&zeros[..], |tokens| &tokens[start..start + len]);
            batch.extend(sequences.open(), tokens, Want::NOTHING);
            start += len;
        }
        let described = sequences.step(&batch)?;
        Ok((described, backend.create_cache(spec)?))
    }
}

/// The last norm and the output layer, without the layers.
#[derive(Debug)]
pub struct OutputLayer {
    facts: Facts,
    network: Network,
    cache: Cache,
}

impl OutputLayer {
    /// Loads them from `params`.
    ///
    /// # Errors
    /// What is wrong with a weight, why the device refuses.
    pub fn load(blueprint: &Blueprint, params: &dyn Parameters, backend: &mut dyn Backend) -> Result<Self, ModelError> {
        let tree = &blueprint.tree;
        let slots = outer(tree.finish.iter().chain([tree.output_matrix()]));
        let network = bind(blueprint, params, &slots, 1, backend)?;
        let cache = backend.create_cache(blueprint.cache_spec_of(&[], CacheType::F32))?;
        Ok(Self { facts: blueprint.facts.clone(), network, cache })
    }

    /// The last norm: residual states to hidden states. // [rows, D] -> [rows, D]
    ///
    /// # Errors
    /// A wrong width, why the device refuses.
    pub fn finish(&self, x: &Matrix, backend: &mut dyn Backend) -> Result<Matrix, ModelError> {
        let architecture = self.network.architecture();
        step::output_layer(x, &self.facts, &self.cache, backend, &|x, b| architecture.finish(x, b))
    }

    /// Logits of finished hidden states. // [rows, D] -> [rows, V]
    ///
    /// # Errors
    /// As [`OutputLayer::finish`].
    pub fn logits(&self, hidden: &Matrix, backend: &mut dyn Backend) -> Result<Matrix, ModelError> {
        let architecture = self.network.architecture();
        step::output_layer(hidden, &self.facts, &self.cache, backend, &|x, b| architecture.logits(x, b))
    }
}

fn outer<'a>(modules: impl IntoIterator<Item = &'a Module>) -> Vec<Slot> {
    modules.into_iter().map(|module| Slot { layer: None, module: module.name }).collect()
}

fn bind(
    blueprint: &Blueprint,
    params: &dyn Parameters,
    slots: &[Slot],
    context: usize,
    backend: &mut dyn Backend,
) -> Result<Network, ModelError> {
    let mut weights = Weights::default();
    for &slot in slots {
        weights.upload(blueprint, params, slot, backend)?;
        params.forget();
    }
    Ok(Network::new(blueprint, weights, context, backend)?)
}
