//! Embeddings: the final hidden states of a text, pooled.

use honelm_model::Pooling;

use crate::EngineError;

/// Scales a vector to length 1. A vector of zeros stays as it is.
pub fn scale_to_one(values: &mut [f32]) {
    let length = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
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
