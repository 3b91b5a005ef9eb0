//! The documents of llama-bench (`llama-bench -o jsonl`), for programs that read those.

use honelm_bench::Rows;
use serde_json::{Value, json};

use super::BenchRow;

impl BenchRow {
    /// Returns the row with the keys of llama-bench. `filename` is the model's as the user gave it. Keys of settings that this program does not have are absent.
    ///
    /// A row of a first token is a prefill there, and the steps of a draft are decoding.
    #[must_use]
    pub fn llama_bench(&self, filename: &str) -> Value {
        let measured = &self.measurement;
        let what = measured.what;
        let nanoseconds: Vec<f64> = measured.seconds.iter().map(|s| s * 1e9).collect();
        let (mean, deviation) = moments(&nanoseconds);
        let rates: Vec<f64> = measured.rates().collect();
        let sequences = if let Rows::Sequences(n) = what.rows { n } else { 1 };
        json!({
            "build_commit": format!("honelm-{}", self.version),
            "build_number": 0,
            "cpu_info": self.cpu.as_deref().unwrap_or_default(),
            "gpu_info": if self.ceilings.is_some() { "" } else { self.device.as_str() },
            "backends": if self.ceilings.is_some() { "CPU" } else { "GPU" },
            "model_filename": filename,
            "model_type": format!("{} {}", self.model, self.encoding),
            "model_size": self.size_bytes,
            "model_n_params": self.parameters,
            "n_batch": what.batch,
            "n_ubatch": what.batch,
            "n_threads": self.threads,
            "type_k": self.cache_type,
            "type_v": self.cache_type,
            "n_prompt": what.prompt,
            "n_gen": what.generate * sequences,
            "n_depth": what.depth,
            "test_time": self.date,
            "avg_ns": mean.round() as u64,
            "stddev_ns": deviation.round() as u64,
            "avg_ts": measured.tokens_per_second,
            "stddev_ts": measured.tokens_per_second_stddev,
            "samples_ns": nanoseconds.iter().map(|ns| ns.round() as u64).collect::<Vec<_>>(),
            "samples_ts": rates,
        })
    }
}

/// Returns the mean and the standard deviation of a sample.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0).max(1.0);
    (mean, variance.sqrt())
}
