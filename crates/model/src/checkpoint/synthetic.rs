use honelm_blocks::{BlockMatrix, Encoding};
use serde_json::{Value as Json, json};

use crate::{Kind, ModelError, Module, Parameter, Slot};

/// The standard deviation of the weights, as in a newly initialised model.
const DEVIATION: f32 = 0.02;
/// The number of different rows of a matrix; the others repeat them in random order.
const ROWS: usize = 32;

/// The shape of a published model: name, D, layers, H, G, E, F, tied, factor of the llama3 rope scaling.
type Preset = (&'static str, usize, usize, usize, usize, usize, usize, bool, f64);
const PRESETS: &[Preset] = &[
    ("llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, true, 32.0),
    ("llama-3.2-3b", 3072, 28, 24, 8, 128, 8192, true, 32.0),
    ("llama-3.1-8b", 4096, 32, 32, 8, 128, 14336, false, 8.0),
];

/// Weights that are generated on demand.
#[derive(Debug, Clone)]
pub(super) struct Synthetic {
    pub encoding: Encoding,
    pub seed: u64,
}

pub(super) fn shapes() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.0).collect()
}

/// Returns the configuration of a published shape.
pub(super) fn config(shape: &str) -> Result<Json, ModelError> {
    let found = PRESETS.iter().find(|preset| preset.0 == shape);
    let &(_, width, layers, heads, kv_heads, head_width, ffn, tied, factor) =
        found.ok_or_else(|| ModelError::UnknownShape { found: shape.to_owned(), known: shapes().join(", ") })?;
    Ok(json!({
        "model_type": "llama",
        "vocab_size": 128_256,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_width,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
        "rope_theta": 500_000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    }))
}

impl Synthetic {
    /// Returns the encoding of a weight.
    pub(super) fn encoding_of(&self, slot: Slot, module: &Module) -> Encoding {
        match module.kind {
            Kind::Norm | Kind::Positions | Kind::TokenTypes => Encoding::F32,
            _ if slot.layer.is_none() && self.encoding.bits_per_weight() < 8.0 => Encoding::Q6K,
            _ => self.encoding,
        }
    }

    pub(super) fn parameter(&self, slot: Slot, module: &Module) -> Result<Parameter, ModelError> {
        let [rows, cols] = module.shape;
        let encoding = self.encoding_of(slot, module);
        let mut random = Random(self.seed ^ name_hash(slot));
        let failed = |source| ModelError::Weight {
            file: "synthetic weights".to_owned(),
            tensor: module.name.to_owned(),
            source,
        };
        if module.kind == Kind::Norm {
            let ones = honelm_tensor::Matrix::new(1, cols, vec![1.0; cols]);
            let weight = BlockMatrix::quantize(&ones, encoding, None).map_err(failed)?.into();
            return Ok(Parameter { weight, bias: module.bias.then(|| vec![0.0; cols]) });
        }
        let values = (0..ROWS * cols).map(|_| random.normal() * DEVIATION).collect();
        let pool = honelm_tensor::Matrix::new(ROWS, cols, values);
        let pool = BlockMatrix::quantize(&pool, encoding, None).map_err(failed)?;
        let mut bytes = Vec::with_capacity(rows * pool.row_bytes());
        for _ in 0..rows {
            bytes.extend_from_slice(pool.row(random.next() as usize % ROWS));
        }
        let weight = BlockMatrix::new(encoding, rows, cols, bytes.into()).map_err(failed)?.into();
        let bias = module.bias.then(|| (0..rows).map(|_| random.normal() * DEVIATION).collect());
        Ok(Parameter { weight, bias })
    }
}

/// Returns the FNV-1a hash of a slot, which makes the values of each weight different.
fn name_hash(slot: Slot) -> u64 {
    let layer = slot.layer.map_or(u64::MAX, |i| i as u64).to_le_bytes();
    let bytes = layer.into_iter().chain(slot.module.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The random number generator SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a nearly normal number: the sum of four uniform numbers, scaled to variance 1.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: f32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as f32 / 65536.0 - 0.5).sum();
        sum * 3f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, Parameters};

    #[test]
    fn weights_are_the_same_for_the_same_seed_and_finite() {
        let slot = Slot { layer: Some(3), module: "k" };
        let make = |seed| {
            let checkpoint = Checkpoint::synthetic("llama-3.2-1b", Encoding::Q4_0, seed).expect("a known shape");
            checkpoint.parameter(slot).expect("in the tree").weight
        };
        let (a, b) = (make(1), make(2));
        assert_eq!((a.rows(), a.cols(), a.encoding_name()), (512, 2048, "Q4_0".to_owned()));
        assert_eq!(a.dequantize(), make(1).dequantize());
        assert_ne!(a.dequantize(), b.dequantize());
        a.check_finite().expect("finite");
        let values = a.dequantize().data;
        let deviation = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
        assert!((deviation / DEVIATION - 1.0).abs() < 0.05, "{deviation}");
    }

    #[test]
    fn unknown_shapes_are_refused_and_known_ones_have_their_published_sizes() {
        let error = Checkpoint::synthetic("llama-0", Encoding::F16, 0).expect_err("unknown");
        assert_eq!(error.code(), "unknown-shape");
        for (shape, parameters) in
            [("llama-3.2-1b", 1_235_814_400), ("llama-3.2-3b", 3_212_749_824), ("llama-3.1-8b", 8_030_261_248)]
        {
            let checkpoint = Checkpoint::synthetic(shape, Encoding::F16, 0).expect("known");
            assert_eq!(checkpoint.facts().parameters, parameters, "{shape}");
        }
    }
}
