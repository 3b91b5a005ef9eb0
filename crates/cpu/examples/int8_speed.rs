//! The speed of 8-bit products, compared with given ceilings.
//!
//! `int8_speed [--threads T] [--bandwidth GB/s] [--peak Gop/s] [--prefill ROWS] [--megabytes N] [ENCODING ...]`
//!
//! Multiplies random weights of the shapes of Llama-3.2-1B, about 1 GB of distinct matrices per pass so that caches do not
//! help. Prints the weights read (GB/s) for few rows and the operations (Gop/s) for many, with their fractions of the ceilings.
#![allow(clippy::unwrap_used, reason = "an example that measures")]
#![allow(unsafe_code, reason = "parts of one result for several threads")]

use std::time::Instant;

use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_cpu::int8::{Int8Weight, QuantizedRows, quantize_ordered};
use honelm_cpu::{Isa, Output, Pool};

/// The output rows and columns of a layer's matrices: q and o, k and v, gate and up, down.
const LAYER: [(usize, usize); 7] =
    [(2048, 2048), (512, 2048), (512, 2048), (2048, 2048), (8192, 2048), (8192, 2048), (2048, 8192)];
const HEAD: (usize, usize) = (128_256, 2048);

struct Options {
    threads: usize,
    bandwidth: f64,
    peak: f64,
    prefill: usize,
    megabytes: usize,
    encodings: Vec<String>,
}

fn options() -> Options {
    let mut o = Options { threads: 2, bandwidth: 0.0, peak: 0.0, prefill: 512, megabytes: 1000, encodings: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse::<f64>().ok()).unwrap();
        match arg.as_str() {
            "--threads" => o.threads = number() as usize,
            "--bandwidth" => o.bandwidth = number(),
            "--peak" => o.peak = number(),
            "--prefill" => o.prefill = number() as usize,
            "--megabytes" => o.megabytes = number() as usize,
            _ => o.encodings.push(arg),
        }
    }
    if o.encodings.is_empty() {
        let all = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q6_k", "int4", "int4z", "int8", "int8z"];
        o.encodings = all.map(str::to_owned).to_vec();
    }
    o
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Returns a weight of small random values. All its bytes are random except for the exponents of scales.
fn weight(name: &str, (rows, cols): (usize, usize), random: &mut Random) -> WeightData {
    if let Some(encoding) = Encoding::from_name(name) {
        let size = encoding.row_bytes(cols).unwrap() * rows;
        let bytes: Vec<u8> =
            (0..size.div_ceil(8)).flat_map(|_| (random.next() & 0x1f1f_1f1f_1f1f_1f1f).to_le_bytes()).collect();
        return BlockMatrix::new(encoding, rows, cols, bytes[..size].to_vec().into()).unwrap().into();
    }
    let bits = if name.starts_with("int8") { 8 } else { 4 };
    let codes: Vec<u8> = (0..rows * cols).map(|i| (i as u64 ^ random.0 >> 3) as u8 & (255 >> (8 - bits))).collect();
    let groups = rows * cols / 128;
    let zeros = match name.ends_with('z') {
        true => Zeros::Integer((0..groups).map(|_| random.next() as u8 & 15).collect()),
        false => Zeros::Constant(1 << (bits - 1)),
    };
    GroupMatrix {
        rows,
        cols,
        bits,
        group_size: 128,
        scale_type: ScaleType::F16,
        codes: honelm_tensor::AlignedVec::from_slice(&codes),
        scales: vec![0.0078125; groups],
        zeros,
        order: None,
    }
    .into()
}

/// Multiplies `x` by every weight. The pool's threads share the tiles.
fn run(weights: &[Int8Weight], x: &[QuantizedRows], pool: &Pool, out: &mut [f32]) {
    for weight in weights {
        let x = x.iter().find(|x| x.cols() == weight.cols()).unwrap();
        let (rows, tiles) = (x.rows(), weight.tiles());
        let output = Output::new(&mut out[..rows * weight.rows()], rows, weight.rows());
        let step = tiles.div_ceil(8 * pool.threads()).max(1);
        pool.run(tiles.div_ceil(step), |task| {
            let range = task * step..tiles.min((task + 1) * step);
            // SAFETY: each task has different tiles.
            let mut part = unsafe { output.tiles(range.clone()) };
            weight.multiply(range, x, 0..rows, &mut part);
        });
    }
}

fn fraction(value: f64, ceiling: f64) -> String {
    if ceiling > 0.0 { format!("{:4.0}%", 100.0 * value / ceiling) } else { "    -".to_owned() }
}

fn main() {
    let o = options();
    let (isa, pool) = (Isa::detect(), Pool::new(Some(o.threads)));
    println!("{isa}, {} threads; ceilings {} GB/s, {} Gop/s", pool.threads(), o.bandwidth, o.peak);
    for name in &o.encodings {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let start = Instant::now();
        let mut weights: Vec<Int8Weight> = Vec::new();
        let mut add = |shape| {
            weights.push(Int8Weight::pack_on(&weight(name, shape, &mut random), isa, &pool).unwrap());
            weights.iter().map(Int8Weight::bytes).sum::<usize>()
        };
        let mut total = add(HEAD);
        while total < o.megabytes * 1_000_000 {
            for shape in LAYER {
                total = add(shape);
            }
        }
        let packed = start.elapsed().as_secs_f64();
        let values: f64 = weights.iter().map(|w| (w.rows() * w.cols()) as f64).sum();
        println!(
            "{name}: {:.2} GB, {:.2} bits per weight, created and packed in {packed:.1} s",
            total as f64 / 1e9,
            total as f64 * 8.0 / values
        );
        for rows in [1, 2, 3, 4, 5, 6, 8, 16, o.prefill] {
            let x: Vec<QuantizedRows> = [2048, 8192]
                .map(|cols| {
                    let x: Vec<f32> = (0..rows * cols).map(|_| (random.next() >> 40) as f32 / 1e6 - 8.0).collect();
                    let mut rounded = QuantizedRows::new();
                    quantize_ordered(&x, (rows, cols), None, isa, None, &mut rounded);
                    rounded
                })
                .into();
            // A prefill omits the output layer, as for a prompt.
            let used = if rows > 16 { &weights[1..8] } else { &weights[..] };
            let mut out = vec![0.0f32; rows * used.iter().map(Int8Weight::rows).max().unwrap()];
            let repeats = if rows > 16 { 7 } else { 11 };
            run(used, &x, &pool, &mut out);
            let mut times: Vec<f64> = (0..repeats)
                .map(|_| {
                    let start = Instant::now();
                    run(used, &x, &pool, &mut out);
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            // Other programs can only slow the kernel down, so the best time is that of the kernel.
            let (seconds, median) = (times[0], times[repeats / 2]);
            let bytes: usize = used.iter().map(Int8Weight::bytes).sum();
            let values: f64 = used.iter().map(|w| (w.rows() * w.cols()) as f64).sum();
            let (gigabytes, gigaops) = (bytes as f64 / seconds / 1e9, 2.0 * rows as f64 * values / seconds / 1e9);
            println!(
                "  {rows:4} rows: {gigabytes:6.1} GB/s {}   {gigaops:7.1} Gop/s {}   best {:8.2} ms, median {:8.2} ms",
                fraction(gigabytes, o.bandwidth),
                fraction(gigaops, o.peak),
                seconds * 1e3,
                median * 1e3
            );
        }
    }
}
