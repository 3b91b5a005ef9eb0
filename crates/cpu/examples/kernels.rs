//! The speed of products and attention: `cargo run --release -p honelm-cpu --example kernels [THREADS] [PART]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for developers")]

use std::time::Instant;

use honelm_backend::{
    Attention, Backend, Batch, CacheKind, CacheSpec, CacheType, LayerCache, Parent, Sequences, Token, Want,
};
use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_tensor::Matrix;

fn matrix(rows: usize, cols: usize) -> Matrix {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    };
    Matrix::new(rows, cols, (0..rows * cols).map(|_| next()).collect())
}

/// Returns the seconds of the fastest of several runs.
fn fastest(repeats: usize, mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..repeats).map(time).fold(f64::INFINITY, f64::min)
}

fn products(threads: usize, compute: Compute, encoding: Encoding, rows: usize) {
    let (k, m) = (2048, 8192);
    let mut b = CpuBackend::new(CpuOptions { threads: Some(threads), compute, isa: None });
    let weight: WeightData = BlockMatrix::quantize(&matrix(m, k), encoding, None).unwrap().into();
    // Enough copies that no cache holds all of them.
    let copies = if rows < 32 { (1 << 29) / (m * k) } else { 2 };
    let weights: Vec<_> = (0..copies).map(|_| b.upload(weight.clone(), None).unwrap()).collect();
    let bytes = b.allocated_bytes().weights;
    let x = b.input(&matrix(rows, k));
    let seconds = fastest(7, || {
        for w in &weights {
            let _ = b.linear(&x, w);
        }
    });
    let flops = 2.0 * (rows * k * m * copies) as f64;
    println!(
        "{:6} {compute:?} N {rows:4}: {:8.1} GFLOP/s {:6.1} GB/s of weights",
        encoding.display_name(),
        flops / seconds / 1e9,
        bytes as f64 / seconds / 1e9
    );
}

fn attention(threads: usize, element: CacheType, past: usize, rows: usize) {
    let (heads, kv_heads, width) = (32, 8, 64);
    let mut b = CpuBackend::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() });
    let layers = vec![LayerCache { kv_heads, head_width: width, group: 0 }];
    let spec = CacheSpec { groups: vec![CacheKind::Full], layers, page_len: 256, element };
    let cache = b.create_cache(spec.clone()).unwrap();
    let mut sequences = Sequences::new(&spec.groups, spec.page_len, 65_536, 0);
    let id = sequences.open();
    let options = Attention { heads, scale: 0.125, softcap: None };
    let mut run = |id, count: usize| {
        let mut batch = Batch::default();
        (0..count).for_each(|_| batch.push(id, Token::Id(0), Parent::Previous, Want::NOTHING));
        b.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
        let queries = matrix(count, heads * width);
        let keys = matrix(count, kv_heads * width);
        let (q, k, v) = (b.input(&queries), b.input(&keys), b.input(&keys));
        let start = Instant::now();
        let _ = b.attention(&q, &k, &v, &cache, 0, &options);
        let seconds = start.elapsed().as_secs_f64();
        b.submit();
        if count == rows && rows > 1 {
            sequences.truncate(id, past).unwrap();
        }
        seconds
    };
    if past > 0 {
        run(id, past);
    }
    let seconds = (0..5).map(|_| run(id, rows)).fold(f64::INFINITY, f64::min);
    let seen = (past + rows / 2) as f64;
    println!(
        "attention {element:?} past {past:5} rows {rows:4}: {:9.1} us per layer, {:7.1} GFLOP/s",
        seconds * 1e6,
        4.0 * seen * (rows * heads * width) as f64 / seconds / 1e9
    );
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(2);
    let only = std::env::args().nth(2);
    let wanted = |what: &str| only.as_deref().is_none_or(|o| o == what);
    if wanted("floats") {
        floats(threads);
    }
    if wanted("encoded") {
        encoded(threads);
    }
    if wanted("attention") {
        all_attention(threads);
    }
}

fn floats(threads: usize) {
    for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16] {
        for rows in [1, 4, 16, 512] {
            products(threads, Compute::Fast, encoding, rows);
        }
    }
}

fn encoded(threads: usize) {
    for encoding in [Encoding::Q4_0, Encoding::Q8_0, Encoding::Q6K] {
        for (compute, rows) in [(Compute::F32, 1), (Compute::F32, 512), (Compute::Fast, 1), (Compute::Fast, 512)] {
            products(threads, compute, encoding, rows);
        }
    }
}

fn all_attention(threads: usize) {
    for element in [CacheType::F16, CacheType::F32, CacheType::Q8_0] {
        for (past, rows) in [(0, 512), (512, 1), (4096, 1), (4096, 16), (4096, 512)] {
            attention(threads, element, past, rows);
        }
    }
}
