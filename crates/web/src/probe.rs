//! The speed of the CPU's kernels in this browser.

use honelm_backend::{Backend, CacheKind, CacheSpec, CacheType, LayerCache};
use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{CpuBackend, CpuOptions};
use honelm_tensor::Matrix;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::options::{LoadSettings, parsed};
use crate::{WebError, platform};

/// The time of a measurement in seconds.
const SECONDS: f64 = 0.2;
/// The rows and columns of the matrix.
const SHAPE: [usize; 2] = [1024, 2048];
/// The parts of that time, of which the fastest counts.
const PARTS: u32 = 4;

/// Measures the CPU's kernels for weights of `encoding` (`Q4_0`, `F16`, …) in 0.2 s, and returns `{"encoding", "weights_per_second",
/// "bytes_per_second"}` as JSON. A token reads every weight once, so a model's tokens per second are nearly its weights per second
/// divided by their number. `options` is the JSON of `WebModel.load`.
///
/// # Errors
/// Fails for an unknown encoding.
#[wasm_bindgen]
pub async fn probe(encoding: String, options: String) -> Result<String, WebError> {
    let settings: LoadSettings = parsed("options", &options)?;
    let unknown = || WebError::InvalidArgument {
        name: "encoding",
        problem: format!("found {encoding}, expected an encoding such as Q4_0, Q8_0 or F16"),
    };
    let found = Encoding::from_name(&encoding).ok_or_else(unknown)?;
    let rate = weights_per_second(found, &settings).await?;
    let bytes = rate * found.block_bytes() as f64 / found.block_len() as f64;
    let name = found.display_name();
    Ok(json!({"encoding": name, "weights_per_second": rate, "bytes_per_second": bytes}).to_string())
}

/// Returns the weights of `encoding` that the CPU multiplies per second for one token.
pub async fn weights_per_second(encoding: Encoding, settings: &LoadSettings) -> Result<f64, WebError> {
    let mut cpu = CpuBackend::new(CpuOptions { threads: Some(1), compute: settings.compute(), isa: settings.isa() });
    let [rows, cols] = SHAPE;
    let row_bytes = cols / encoding.block_len() * encoding.block_bytes();
    // The time does not depend on the values.
    let bytes = vec![0; rows * row_bytes].into();
    let weight = cpu.upload(BlockMatrix { encoding, rows, cols, bytes }.into(), None)?;
    let cache = cpu.create_cache(CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: 1, head_width: 32, group: 0 }],
        page_len: 16,
        element: CacheType::F32,
    })?;
    let x = Matrix::new(1, cols, vec![1.0; cols]);
    let mut best: f64 = 0.0;
    // In the first part, the browser may still compile the kernels.
    for _ in 0..PARTS {
        let (begin, mut products) = (platform::seconds(), 0);
        let mut seconds = 0.0;
        while seconds < SECONDS / f64::from(PARTS) {
            cpu.begin(Default::default(), &cache)?;
            let input = cpu.input(&x);
            let product = cpu.linear(&input, &weight);
            cpu.output(0, &product);
            let ticket = cpu.submit();
            cpu.read(ticket).await?;
            products += 1;
            seconds = platform::seconds() - begin;
        }
        best = best.max(f64::from(products) * (rows * cols) as f64 / seconds);
    }
    Ok(best)
}
