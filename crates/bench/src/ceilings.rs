//! The limits of the machine, and the time that a test needs at least because of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use honelm_cpu::{Isa, Pool, peak};
use serde::{Deserialize, Serialize};

use crate::Test;
use crate::test::Rows;

/// The time in seconds for which each limit is probed.
const PROBE_SECONDS: f64 = 0.08;
/// The bytes that are read to measure the bandwidth, far more than a cache holds; less on machines with little free memory.
const STREAM_BYTES: u64 = 256 << 20;
/// The steps of a pass over registers: about half a millisecond, far longer than to wake the threads. In a shorter pass the first
/// thread does the work of all.
const STEPS: usize = 1 << 18;

/// The limits of the machine with a number of threads, as short probes with the kernels' own instructions found them.
/// Other programs lower them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// The bandwidth of reading memory.
    pub read_bytes_per_second: f64,
    /// The rate of multiply-adds of 8-bit integers, each counted as two operations.
    pub int8_operations_per_second: f64,
    /// The rate of multiply-adds in single precision, each counted as two operations.
    pub f32_operations_per_second: f64,
}

impl Ceilings {
    /// Measures the limits with `threads` threads, in about a third of a second.
    ///
    /// The stream that is read counts in the peak memory of the process; see [`crate::PeakMemory`].
    #[must_use]
    pub fn probe(threads: usize) -> Self {
        let (isa, pool) = (Isa::detect(), Pool::new(Some(threads)));
        let passes = |operations: fn(Isa, usize) -> u64, steps: usize| {
            best(|| {
                let all = AtomicU64::new(0);
                pool.run(pool.threads(), |_| {
                    all.fetch_add(operations(isa, steps), Ordering::Relaxed);
                });
                all.into_inner()
            })
        };
        // The portable code is far slower.
        let steps = if isa == Isa::Generic { STEPS / 64 } else { STEPS };
        let int8_operations_per_second = passes(peak::int8_operations, steps / 8);
        let f32_operations_per_second = passes(peak::f32_operations, steps);
        let free = crate::memory::available_bytes().unwrap_or(u64::MAX);
        let stream = peak::Stream::new(STREAM_BYTES.min(free / 8) as usize, &pool);
        Self {
            read_bytes_per_second: best(|| stream.read(isa, &pool)),
            int8_operations_per_second,
            f32_operations_per_second,
        }
    }

    /// Returns the larger of each limit: two probes differ because of other programs, which only lower them.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            read_bytes_per_second: self.read_bytes_per_second.max(other.read_bytes_per_second),
            int8_operations_per_second: self.int8_operations_per_second.max(other.int8_operations_per_second),
            f32_operations_per_second: self.f32_operations_per_second.max(other.f32_operations_per_second),
        }
    }
}

/// Returns the best rate of several passes.
fn best(mut pass: impl FnMut() -> u64) -> f64 {
    let (begin, mut best) = (Instant::now(), 0.0f64);
    while best == 0.0 || begin.elapsed().as_secs_f64() < PROBE_SECONDS {
        let start = Instant::now();
        let count = pass();
        best = best.max(count as f64 / start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE));
    }
    best
}

/// The work of matrix products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Products {
    /// The bytes of the weights, which a step reads once.
    pub weight_bytes: u64,
    /// The operations per row in 8-bit integers, two for each weight.
    pub int8_operations: u64,
    /// The operations per row in single precision, two for each weight.
    pub f32_operations: u64,
}

/// The work of a model's steps, without attention and everything that is small beside the products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// The products of the layers, for every row.
    pub layers: Products,
    /// The product with the output matrix, for rows whose logits are computed.
    pub output: Products,
    /// The bytes of the cached keys and values of a token.
    pub cache_bytes: u64,
}

/// The resource that limits a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Reading weights and cache from memory.
    Memory,
    /// Multiply-adds.
    Compute,
}

/// The least time of a test on a machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// The time in seconds.
    pub seconds: f64,
    /// The resource that takes most of it.
    pub limit: Limit,
}

impl Work {
    /// Returns the least time of a test: in each step, the longer of the time for its bytes and of that for its operations
    /// (the roofline model, Williams, Waterman and Patterson 2009).
    #[must_use]
    pub fn bound(&self, test: &Test, ceilings: &Ceilings) -> Bound {
        let sequences = if let Rows::Sequences(n) = test.rows { n } else { 1 };
        // The time of the steps that memory limits, and of those that compute limits.
        let mut seconds = [0.0; 2];
        let mut add = |rows: usize, outputs: usize, cached: usize| {
            let step = self.step(rows, outputs, cached, ceilings);
            let longer = usize::from(step[1] > step[0]);
            seconds[longer] += step[longer];
        };
        for _ in 0..sequences {
            let mut done = 0;
            while done < test.prompt {
                let rows = test.batch.clamp(1, test.prompt - done);
                add(rows, usize::from(done + rows == test.prompt), test.depth + done);
                done += rows;
            }
        }
        for step in 0..test.generate {
            let count = test.rows.count();
            add(count, count, sequences * (test.depth + test.prompt + step));
        }
        let limit = if seconds[0] >= seconds[1] { Limit::Memory } else { Limit::Compute };
        Bound { seconds: seconds.iter().sum(), limit }
    }

    /// Returns the time of a step for its bytes, and that for its operations.
    fn step(&self, rows: usize, outputs: usize, cached: usize, ceilings: &Ceilings) -> [f64; 2] {
        let output = if outputs > 0 { self.output.weight_bytes } else { 0 };
        let bytes = self.layers.weight_bytes + output + self.cache_bytes.saturating_mul(cached as u64);
        let operations =
            |of: fn(&Products) -> u64| of(&self.layers) as f64 * rows as f64 + of(&self.output) as f64 * outputs as f64;
        let int8 = operations(|p| p.int8_operations) / ceilings.int8_operations_per_second;
        let f32 = operations(|p| p.f32_operations) / ceilings.f32_operations_per_second;
        [bytes as f64 / ceilings.read_bytes_per_second, int8 + f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILINGS: Ceilings =
        Ceilings { read_bytes_per_second: 1e3, int8_operations_per_second: 1e4, f32_operations_per_second: 1e3 };

    #[test]
    fn probes_find_positive_rates_that_do_not_exceed_what_processors_can() {
        let found = Ceilings::probe(1);
        for rate in [found.read_bytes_per_second, found.int8_operations_per_second, found.f32_operations_per_second] {
            // A loop that the compiler removed would be far beyond this.
            assert!((1e6..1e14).contains(&rate), "{found:?}");
        }
        let more = Ceilings { read_bytes_per_second: found.read_bytes_per_second * 2.0, ..CEILINGS };
        assert_eq!(found.or(more).read_bytes_per_second, more.read_bytes_per_second);
    }

    #[test]
    fn the_slower_resource_bounds_each_step() {
        let layers = Products { weight_bytes: 100, int8_operations: 200, f32_operations: 0 };
        let output = Products { weight_bytes: 50, int8_operations: 0, f32_operations: 20 };
        let work = Work { layers, output, cache_bytes: 2 };
        // A step of a row reads 150 bytes in 0.15 s, and computes in 0.02 s + 0.02 s; the second one reads 2 bytes more.
        let decode = work.bound(&Test::new(0, 2, 4), &CEILINGS);
        assert_eq!((decode.limit, (decode.seconds * 1e6).round()), (Limit::Memory, 302_000.0));
        // Steps of 8 rows compute in 0.16 s, the last one in 0.18 s.
        let prefill = work.bound(&Test::new(16, 0, 8), &CEILINGS);
        assert_eq!((prefill.limit, (prefill.seconds * 1e6).round()), (Limit::Compute, 340_000.0));
        let deep = work.bound(&Test { depth: 500, ..Test::new(0, 1, 8) }, &CEILINGS);
        assert!((deep.seconds - 1.15).abs() < 1e-9, "{deep:?}");
    }
}
