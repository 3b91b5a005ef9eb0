//! Embeddings: the final hidden states of a text, pooled.

use serde::{Deserialize, Serialize};

use crate::EngineError;

/// The way from the hidden states of all tokens to one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all states.
    #[default]
    Mean,
    /// The state of the last token. In a causal model, only this one has seen the whole text.
    Last,
    /// The state of the first token, for models that were trained with a token for the whole text in front.
    Cls,
}

impl Pooling {
    /// The names, in the order of the variants.
    pub const NAMES: [&str; 3] = ["mean", "last", "cls"];

    /// Returns the pooling of a name: `mean`, `last` or `cls`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Mean, Self::Last, Self::Cls];
        all.into_iter().find(|pooling| pooling.name() == name)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The hidden states of a sequence, pooled while they are computed.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pooling: Pooling,
    /// The sum of the states that count. // `[D]`
    sum: Vec<f64>,
    count: usize,
}

impl Pool {
    pub fn new(pooling: Pooling) -> Self {
        Self { pooling, sum: Vec::new(), count: 0 }
    }

    /// Returns `true` if the state of the token at `position` of `len` counts.
    pub fn wants(&self, position: usize, len: usize) -> bool {
        match self.pooling {
            Pooling::Mean => true,
            Pooling::Last => position + 1 == len,
            Pooling::Cls => position == 0,
        }
    }

    /// Adds states. The first ones of a sequence that begins anew replace all earlier ones.
    pub fn add(&mut self, states: &[&[f32]], begins: bool) -> Result<(), EngineError> {
        if begins {
            (self.count, self.sum) = (0, Vec::new());
        }
        for state in states {
            if let Some(value) = state.iter().find(|value| !value.is_finite()) {
                return Err(EngineError::NotFiniteState { value: *value });
            }
            self.sum.resize(state.len(), 0.0);
            self.sum.iter_mut().zip(*state).for_each(|(sum, &value)| *sum += f64::from(value));
            self.count += 1;
        }
        Ok(())
    }

    /// Returns the pooled state. // `[D]`
    pub fn finish(&self) -> Vec<f32> {
        let count = self.count.max(1) as f64;
        self.sum.iter().map(|sum| (sum / count) as f32).collect()
    }
}
