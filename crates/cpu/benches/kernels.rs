//! The speed of products and attention: `cargo bench -p honelm-cpu [FILTER]`.
//!
//! Throughput is that of weights or cached values in bytes, and of operations, two for each multiply-add. `honelm bench` prints the
//! limits of the machine in the same units. Products of one row read weights that no cache holds.
#![allow(clippy::unwrap_used, reason = "a measurement for developers")]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use honelm_backend::{
    Attention, Backend, Batch, CacheKind, CacheSpec, CacheType, LayerCache, Parent, Sequences, Token, Want,
};
use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_tensor::Matrix;

fn main() {
    divan::main();
}

/// The shape of a weight: `up` of a model of 1B parameters.
const SHAPE: [usize; 2] = [8192, 2048];
/// The bytes of all copies of a weight, more than a cache holds.
const BYTES: usize = 256 << 20;

/// Returns a matrix of small numbers that are the same in every run.
fn matrix(rows: usize, cols: usize) -> Matrix {
    let value = |i: usize| honelm_backend::uniform(1, 0, i as u64, 0) - 0.5;
    Matrix::new(rows, cols, (0..rows * cols).map(value).collect())
}

fn product(bencher: Bencher<'_, '_>, encoding: &str, compute: Compute, rows: usize) {
    let [out, cols] = SHAPE;
    let mut backend = CpuBackend::new(CpuOptions { threads: None, compute, isa: None });
    let encoding = Encoding::from_name(encoding).unwrap();
    let matrix_bytes = encoding.row_bytes(cols).unwrap() * out;
    // One matrix is quantised, the others are copies.
    let weight = BlockMatrix::quantize(&matrix(out, cols), encoding, None).unwrap();
    let copies = if rows > 16 { 1 } else { BYTES.div_ceil(matrix_bytes) };
    let weights: Vec<_> = (0..copies).map(|_| backend.upload(weight.clone().into(), None).unwrap()).collect();
    let bytes = backend.allocated_bytes().weights;
    let x = backend.input(&matrix(rows, cols));
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(2 * rows * cols * out * copies)).bench_local(
        || {
            for weight in &weights {
                let _ = backend.linear(&x, weight);
            }
        },
    );
}

/// Products in 8-bit integers, and of floats.
#[divan::bench(
    args = ["q4_0", "q4_1", "q5_0", "q8_0", "q4_k", "q6_k", "iq4_xs", "f16", "bf16", "f32"],
    consts = [1, 2, 4, 8, 16, 512],
    sample_count = 9,
    sample_size = 1
)]
fn fast<const ROWS: usize>(bencher: Bencher<'_, '_>, encoding: &str) {
    product(bencher, encoding, Compute::Fast, ROWS);
}

/// Products in single precision.
#[divan::bench(args = ["q4_0", "q8_0", "q6_k"], consts = [1, 512], sample_count = 5, sample_size = 1)]
fn single_precision<const ROWS: usize>(bencher: Bencher<'_, '_>, encoding: &str) {
    product(bencher, encoding, Compute::F32, ROWS);
}

/// Returns the cases of attention: the type of the cache, the cached tokens and the rows behind them.
fn cases() -> Vec<(CacheType, usize, usize)> {
    let sizes = [(0, 512), (512, 1), (4096, 1), (4096, 16), (4096, 512)];
    let types = [CacheType::F16, CacheType::F32, CacheType::Q8_0, CacheType::Q4_0];
    types.into_iter().flat_map(|element| sizes.map(|(past, rows)| (element, past, rows))).collect()
}

/// Attention of a layer of 32 heads of width 64, which share the keys and values of 8.
#[divan::bench(args = cases(), sample_count = 9, sample_size = 1)]
fn attention(bencher: Bencher<'_, '_>, (element, past, rows): (CacheType, usize, usize)) {
    let (heads, kv_heads, width) = (32, 8, 64);
    let mut backend = CpuBackend::new(CpuOptions::default());
    let layers = vec![LayerCache { kv_heads, head_width: width, group: 0 }];
    let spec = CacheSpec { groups: vec![CacheKind::Full], layers, page_len: 256, element };
    let cache = backend.create_cache(spec.clone()).unwrap();
    let mut sequences = Sequences::new(&spec.groups, spec.page_len, 1 << 16, 0);
    let id = sequences.open();
    let options = Attention { heads, scale: 0.125, softcap: None };
    let inputs = |count: usize| (matrix(count, heads * width), matrix(count, kv_heads * width));
    let mut run = |count: usize, (queries, keys): &(Matrix, Matrix)| {
        let mut batch = Batch::default();
        (0..count).for_each(|_| batch.push(id, Token::Id(0), Parent::Previous, Want::NOTHING));
        backend.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
        let (q, k, v) = (backend.input(queries), backend.input(keys), backend.input(keys));
        let _ = backend.attention(&q, &k, &v, &cache, 0, &options);
        backend.submit();
        // Every call begins behind the same tokens.
        sequences.truncate(id, past).unwrap();
    };
    if past > 0 {
        run(past, &inputs(past));
    }
    let inputs = inputs(rows);
    let seen = past * rows + rows * (rows + 1) / 2;
    bencher.counter(ItemsCount::new(4 * seen * heads * width)).bench_local(|| run(rows, &inputs));
}

/// Products in memory: A^T B of the inputs of a stage. // [1024, 512], [1024, 1280] -> [512, 1280]
#[cfg(feature = "ndarray")]
#[divan::bench(sample_count = 9, sample_size = 1)]
fn statistics(bencher: Bencher<'_, '_>) {
    use ndarray::Array2;
    let [a, b] = [512, 1280].map(|cols| Array2::from_shape_fn((1024, cols), |(i, j)| ((i * 31 + j) % 101) as f32));
    let mut c = Array2::<f32>::zeros((512, 1280));
    bencher.counter(ItemsCount::new(2usize * 512 * 1024 * 1280)).bench_local(|| {
        honelm_cpu::multiply(1.0, a.t(), b.view(), 0.0, &mut c.view_mut());
    });
}
