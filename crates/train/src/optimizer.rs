use honelm_cpu::Pool;
use serde::{Deserialize, Serialize};

/// AdamW (Loshchilov and Hutter 2019, algorithm 2), with the weight decay independent of the gradient, as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// The learning rate.
    pub rate: f32,
    /// The decay of the mean of gradients, and of their squares.
    pub betas: [f32; 2],
    /// The number added to the root of the mean square.
    pub epsilon: f32,
    /// The share of a value, times the rate, that each step takes away.
    pub decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { rate: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, decay: 0.01 }
    }
}

/// The running means of a parameter's gradients.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// The means of the gradients.
    pub mean: Vec<f32>,
    /// The means of their squares.
    pub square: Vec<f32>,
}

impl Moments {
    /// Returns zeros for `len` values.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len] }
    }
}

/// The number of values that one task updates.
const VALUES: usize = 1 << 15;

impl AdamW {
    /// Takes step `number`, counted from 1, with the rate times `factor`. // values, gradients `[n]`
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn step(&self, number: u32, factor: f32, values: &mut [f32], gradients: &[f32], moments: &mut Moments) {
        assert_eq!(values.len(), gradients.len(), "a gradient for each value");
        assert_eq!(values.len(), moments.mean.len(), "moments for each value");
        self.update(number, factor, (values, gradients), [&mut moments.mean, &mut moments.square]);
    }

    /// Takes a step as [`AdamW::step`] does, on the threads of a pool.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn step_on(
        &self,
        pool: &Pool,
        (number, factor): (u32, f32),
        values: &mut [f32],
        gradients: &[f32],
        moments: &mut Moments,
    ) {
        assert_eq!(values.len(), gradients.len(), "a gradient for each value");
        assert_eq!(values.len(), moments.mean.len(), "moments for each value");
        let means = moments.mean.chunks_mut(VALUES).zip(moments.square.chunks_mut(VALUES));
        let mut parts: Vec<_> = values.chunks_mut(VALUES).zip(gradients.chunks(VALUES)).zip(means).collect();
        pool.run_parts(&mut parts, 1, |_, part| {
            for ((values, gradients), (mean, square)) in part {
                self.update(number, factor, (values, gradients), [mean, square]);
            }
        });
    }

    fn update(
        &self,
        number: u32,
        factor: f32,
        (values, gradients): (&mut [f32], &[f32]),
        [means, squares]: [&mut [f32]; 2],
    ) {
        let [b1, b2] = self.betas.map(f64::from);
        let rate = f64::from(self.rate * factor);
        let corrections = [1.0 - b1.powf(number.into()), 1.0 - b2.powf(number.into())];
        let moments = means.iter_mut().zip(squares);
        for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradients).zip(moments) {
            let g = f64::from(*gradient);
            let (m, s) = (b1 * f64::from(*mean) + (1.0 - b1) * g, b2 * f64::from(*square) + (1.0 - b2) * g * g);
            (*mean, *square) = (m as f32, s as f32);
            let direction = m / corrections[0] / ((s / corrections[1]).sqrt() + f64::from(self.epsilon));
            *value = (f64::from(*value) * (1.0 - rate * f64::from(self.decay)) - rate * direction) as f32;
        }
    }
}

/// The course of the learning rate after its rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fall {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A line.
    Linear,
    /// No fall: the rate stays.
    Constant,
}

/// The factor on the learning rate: a linear rise, then a fall to a share of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The course of the fall.
    pub fall: Fall,
    /// The number of steps of the rise.
    pub warmup: u32,
    /// The number of all steps.
    pub steps: u32,
    /// The share of the rate at the last step.
    pub floor: f32,
}

impl Schedule {
    /// Returns the factor of step `number`, counted from 1.
    #[must_use]
    pub fn factor(&self, number: u32) -> f32 {
        if number <= self.warmup {
            return number as f32 / self.warmup.max(1) as f32;
        }
        let done = (number - self.warmup) as f32 / self.steps.saturating_sub(self.warmup).max(1) as f32;
        let left = match self.fall {
            Fall::Cosine => 0.5 * (1.0 + (std::f32::consts::PI * done.min(1.0)).cos()),
            Fall::Linear => 1.0 - done.min(1.0),
            Fall::Constant => return 1.0,
        };
        self.floor + (1.0 - self.floor) * left
    }
}

/// Returns the Euclidean norm of gradients, in all vectors together.
pub fn norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    gradients.into_iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt()
}

/// Scales gradients of the norm `found` down to the norm `limit`, as `torch.nn.utils.clip_grad_norm_` does.
pub fn clip<'a>(gradients: impl IntoIterator<Item = &'a mut [f32]>, found: f64, limit: f64) {
    let factor = (limit / (found + 1e-6)).min(1.0) as f32;
    if factor < 1.0 {
        gradients.into_iter().flatten().for_each(|g| *g *= factor);
    }
}
