//! A model in parts: one layer at a time, from hidden states to hidden states, so that compression and evaluation need the
//! memory of one layer instead of a whole model.

use honelm_backend::{Backend, Batch, Cache, CacheType, Observe, Outputs, Sequences, Step, Value, Want, Weight};
use honelm_tensor::Matrix;

use crate::weights::{Network, Weights};
use crate::{Blueprint, Checkpoint, Facts, LoadOptions, ModelError, Module, Parameters, Slot, step};

/// The key of a part's result.
const RESULT: u32 = 0;

/// A run of hidden states through a model with one layer loaded at a time.
///
/// Keys and values are cached in f32. The rotary frequencies are those for sequences of up to the stream's context.
#[derive(Debug)]
pub struct Stream {
    blueprint: Blueprint,
    context: usize,
    /// The embedding, which stays loaded until the first layer is bound.
    embedding: Option<Network>,
}

/// One layer, loaded onto a back end.
#[derive(Debug)]
pub struct Bound {
    network: Network,
    layer: usize,
}

impl Bound {
    /// Returns the weight of a module of the layer.
    ///
    /// # Panics
    /// Panics if the layer has no such module.
    #[must_use]
    pub fn weight(&self, module: &'static str) -> &Weight {
        self.network.weight(Slot { layer: Some(self.layer), module }).expect("a module of the layer's tree")
    }
}

impl Stream {
    /// Creates a stream for sequences of up to `context` tokens.
    ///
    /// # Errors
    /// [`ModelError::ContextTooLong`] if that exceeds the model's own limit.
    pub fn new(checkpoint: &Checkpoint, context: usize) -> Result<Self, ModelError> {
        let blueprint = checkpoint.blueprint().clone();
        let options = LoadOptions { context: Some(context), ..LoadOptions::default() };
        let context = options.context_of(&blueprint.facts)?;
        Ok(Self { blueprint, context, embedding: None })
    }

    /// Computes the token embeddings of sequences, one after the other. // -> [sum of lengths, D]
    ///
    /// # Errors
    /// A token outside of the vocabulary, an invalid weight, an error of the device.
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
    /// [`ModelError::UnknownSlot`] if there is no such layer, an invalid weight, an error of the device.
    pub fn bind(&mut self, params: &dyn Parameters, i: usize, backend: &mut dyn Backend) -> Result<Bound, ModelError> {
        self.embedding = None;
        let unknown = || ModelError::UnknownSlot { layer: Some(i), module: "(any)".to_owned() };
        let modules = self.blueprint.tree.layers.get(i).ok_or_else(unknown)?;
        let slots: Vec<Slot> = modules.iter().map(|m| Slot { layer: Some(i), module: m.name }).collect();
        Ok(Bound { network: bind(&self.blueprint, params, &slots, self.context, backend)?, layer: i })
    }

    /// Runs the bound layer `i` on sequences that follow each other in `hidden`, each from position 0.
    /// // [sum of lengths, D] -> [sum of lengths, D]
    ///
    /// # Errors
    /// A wrong shape, an error of the device.
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

    /// Runs the layer as [`Stream::run`] does, and returns the inputs of the linear modules that `observe` watches, in the
    /// order in which it watches these. // -> each [sum of lengths, K]
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
        let mut outputs = self.record(bound, i, hidden, lengths, observe)?;
        outputs.sort_by_key(|&(key, _)| key);
        let inputs = outputs.into_iter().filter_map(|(key, value)| match value {
            Value::Floats(matrix) if key & Observe::KEY != 0 => Some(matrix),
            _ => None,
        });
        Ok(inputs.collect())
    }

    /// Computes the product of a linear module of a bound layer with its bias. // [N, K] -> [N, M]
    ///
    /// # Errors
    /// An error of the device.
    ///
    /// # Panics
    /// Panics if the layer has no such module, or if `x` does not have its number of columns.
    pub fn product(
        &self,
        bound: &Bound,
        module: &'static str,
        x: &Matrix,
        backend: &mut dyn Backend,
    ) -> Result<Matrix, ModelError> {
        let weight = bound.weight(module);
        let cache = backend.create_cache(self.blueprint.cache_spec_of(&[], CacheType::F32))?;
        step::rows(x, self.blueprint.facts.output_rows(), &cache, backend, &|x, b| b.linear(x, weight))
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
            return Err(ModelError::WrongWidth { what: "the hidden states", found: hidden.cols, expected: width });
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

    /// Returns a step with new sequences of these lengths, and a cache of some layers for it.
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
            // Layers do not use tokens.
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
    /// Loads both from `params`.
    ///
    /// # Errors
    /// An encoder, an invalid weight, an error of the device.
    pub fn load(blueprint: &Blueprint, params: &dyn Parameters, backend: &mut dyn Backend) -> Result<Self, ModelError> {
        blueprint.facts.check_generates()?;
        let tree = &blueprint.tree;
        Self::of(blueprint, params, &outer(tree.finish.iter().chain([tree.output_matrix()])), backend)
    }

    /// Loads the last norm alone, for [`OutputLayer::finish`]. [`OutputLayer::logits`] then panics.
    ///
    /// # Errors
    /// As [`OutputLayer::load`].
    pub fn load_norm(
        blueprint: &Blueprint,
        params: &dyn Parameters,
        backend: &mut dyn Backend,
    ) -> Result<Self, ModelError> {
        Self::of(blueprint, params, &outer(&blueprint.tree.finish), backend)
    }

    fn of(
        blueprint: &Blueprint,
        params: &dyn Parameters,
        slots: &[Slot],
        backend: &mut dyn Backend,
    ) -> Result<Self, ModelError> {
        let network = bind(blueprint, params, slots, 1, backend)?;
        let cache = backend.create_cache(blueprint.cache_spec_of(&[], CacheType::F32))?;
        Ok(Self { facts: blueprint.facts.clone(), network, cache })
    }

    /// Applies the last norm to the output of the last layer. // [rows, D] -> [rows, D]
    ///
    /// # Errors
    /// A wrong width, an error of the device.
    pub fn finish(&self, x: &Matrix, backend: &mut dyn Backend) -> Result<Matrix, ModelError> {
        let architecture = self.network.architecture();
        step::output_layer(x, &self.facts, &self.cache, backend, &|x, b| architecture.finish(x, b))
    }

    /// Computes the logits of final hidden states. // [rows, D] -> [rows, V]
    ///
    /// # Errors
    /// As [`OutputLayer::finish`].
    ///
    /// # Panics
    /// If the output matrix was not loaded.
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
