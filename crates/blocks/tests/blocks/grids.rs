//! Grids: a sweep sees the values that a reader decodes, and searches do better than plain fits.

use crate::common::Random;
use honelm_blocks::{BlockError, Encoding, Fit, Grid, GroupParams, IntGroups, ScaleType, WeightData};
use proptest::prelude::*;

fn int_grids() -> Vec<IntGroups> {
    let mut out = Vec::new();
    for bits in 2..=8 {
        for symmetric in [false, true] {
            for scale_type in [ScaleType::F16, ScaleType::BF16, ScaleType::F32] {
                for fit in [Fit::MinMax, Fit::Search] {
                    out.push(IntGroups { bits, group_size: 32, symmetric, scale_type, fit });
                }
            }
        }
    }
    out
}

/// Every grid by name, with groups of 32.
fn grids() -> Vec<(String, Box<dyn Grid>)> {
    let blocks = Encoding::ALL.into_iter().filter_map(|e| {
        let grid = e.grid()?;
        Some((e.to_string(), Box::new(Borrowed(grid)) as Box<dyn Grid>))
    });
    blocks.chain(int_grids().into_iter().map(|g| (format!("{g:?}"), Box::new(g) as Box<dyn Grid>))).collect()
}

struct Borrowed(&'static dyn Grid);

impl Grid for Borrowed {
    fn group_size(&self) -> usize {
        self.0.group_size()
    }
    fn codes(&self) -> (u8, u8) {
        self.0.codes()
    }
    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams {
        self.0.fit(values, importance)
    }
    fn fit_plain(&self, values: &[f32]) -> GroupParams {
        self.0.fit_plain(values)
    }
    fn with_scale(&self, p: GroupParams, scale: f32) -> GroupParams {
        self.0.with_scale(p, scale)
    }
    fn round(&self, p: GroupParams, x: f32) -> u8 {
        self.0.round(p, x)
    }
    fn zero_code(&self) -> u8 {
        self.0.zero_code()
    }
    fn value(&self, p: GroupParams, q: u8) -> f32 {
        self.0.value(p, q)
    }
    fn pack(&self, rows: usize, cols: usize, p: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError> {
        self.0.pack(rows, cols, p, codes)
    }
}

/// Returns the weighted squared error of `x` rounded onto `p`.
fn error(grid: &dyn Grid, p: GroupParams, x: &[f32], w: &[f32]) -> f64 {
    let term = |(x, w): (&f32, &f32)| f64::from(*w) * f64::from(x - grid.value(p, grid.round(p, *x))).powi(2);
    x.iter().zip(w).map(term).sum()
}

fn fit_and_pack(name: &str, grid: &dyn Grid, rows: usize, x: &[f32], w: &[f32]) {
    let cols = x.len() / rows;
    let params: Vec<_> = x.chunks(32).zip(w.chunks(32)).map(|(x, w)| grid.fit(x, w)).collect();
    let codes: Vec<_> = x.iter().enumerate().map(|(i, &v)| grid.round(params[i / 32], v)).collect();
    let packed = grid.pack(rows, cols, &params, &codes).unwrap();
    let found = packed.dequantize();
    for (i, &q) in codes.iter().enumerate() {
        let value = grid.value(params[i / 32], q);
        assert_eq!(found.data[i].to_bits(), value.to_bits(), "{name} value {i}: {} against {value}", found.data[i]);
    }
}

#[test]
fn packed_values_are_the_values_of_the_sweep_bit_for_bit() {
    let mut random = Random::new(3);
    for (name, grid) in grids() {
        let mut x: Vec<f32> = (0..4 * 64).map(|_| 0.1 * random.normal()).collect();
        x[..32].fill(0.0);
        x[32..64].fill(-0.25);
        x[64..96].iter_mut().for_each(|v| *v *= 1e-7);
        x[96..128].iter_mut().for_each(|v| *v = v.abs());
        let w: Vec<f32> = x.iter().map(|_| random.uniform()).collect();
        fit_and_pack(&name, &*grid, 4, &x, &w);
    }
}

#[test]
fn every_code_of_random_parameters_packs_to_its_value() {
    let mut random = Random::new(5);
    for (name, grid) in grids() {
        let (low, high) = grid.codes();
        let params: Vec<_> = (0..8)
            .map(|_| {
                let x: Vec<f32> = (0..32).map(|_| random.normal() + 0.3).collect();
                grid.fit(&x, &[1.0; 32])
            })
            .collect();
        let codes: Vec<u8> = (0..256).map(|i| low + (i % (usize::from(high - low) + 1)) as u8).collect();
        let found = grid.pack(2, 128, &params, &codes).unwrap().dequantize();
        for (i, &q) in codes.iter().enumerate() {
            assert_eq!(found.data[i].to_bits(), grid.value(params[i / 32], q).to_bits(), "{name} code {q}");
        }
    }
}

#[test]
fn rounds_to_the_nearest_code() {
    let mut random = Random::new(9);
    for (name, grid) in grids() {
        let x: Vec<f32> = (0..32).map(|_| random.normal()).collect();
        let p = grid.fit(&x, &[1.0; 32]);
        let (low, high) = grid.codes();
        for x in x {
            let found = (grid.value(p, grid.round(p, x)) - x).abs();
            let best = (low..=high).map(|q| (grid.value(p, q) - x).abs()).fold(f32::MAX, f32::min);
            assert!(found <= best + 1e-6 * x.abs(), "{name}: {x} errs by {found}, {best} is possible");
        }
    }
}

#[test]
fn search_is_never_worse_than_the_plain_fit_and_better_in_sum() {
    let mut random = Random::new(13);
    for (name, grid) in grids() {
        let (mut searched, mut plain) = (0.0, 0.0);
        for _ in 0..64 {
            let x: Vec<f32> = (0..32).map(|_| 0.02 * random.heavy(3.0)).collect();
            let w: Vec<f32> = (0..32).map(|_| random.normal().powi(2)).collect();
            let (s, p) = (error(&*grid, grid.fit(&x, &w), &x, &w), error(&*grid, grid.fit_plain(&x), &x, &w));
            // The search rounds ties to even, `round` away from zero.
            assert!(s <= p * 1.0001, "{name}: searched {s}, plain {p}");
            (searched, plain) = (searched + s, plain + p);
        }
        if !name.contains("MinMax") {
            assert!(searched < 0.95 * plain, "{name}: searched {searched}, plain {plain}");
        }
    }
}

#[test]
fn min_max_follows_the_reference_conventions() {
    let x = [-0.5f32, 1.0, 0.25, 0.0];
    let grid =
        |symmetric| IntGroups { bits: 4, group_size: 4, symmetric, scale_type: ScaleType::F32, fit: Fit::MinMax };
    let asymmetric = grid(false).fit(&x, &[1.0; 4]);
    assert_eq!(asymmetric.scale, 1.5 / 15.0);
    assert_eq!(asymmetric.offset, -asymmetric.scale * 5.0);
    let symmetric = grid(true).fit(&x, &[1.0; 4]);
    assert_eq!(symmetric.scale, 2.0 / 15.0);
    assert_eq!(symmetric.offset, -symmetric.scale * 8.0);
    // The range includes 0 even if all values are positive.
    let positive = grid(false).fit(&[1.0, 2.0, 3.0], &[1.0; 3]);
    assert_eq!((positive.scale, positive.offset), (3.0 / 15.0, 0.0));
}

#[test]
fn zero_groups_are_canonical() {
    for (name, grid) in grids() {
        let p = grid.fit(&[0.0; 32], &[1.0; 32]);
        assert_eq!(p.scale, 0.0, "{name}");
        assert_eq!(grid.round(p, 1.0), grid.zero_code(), "{name}");
        assert_eq!(grid.value(p, grid.zero_code()), 0.0, "{name}");
    }
}

#[test]
fn pack_refuses_what_it_cannot_hold() {
    for (name, grid) in grids() {
        let p = grid.fit(&[0.5; 32], &[1.0; 32]);
        let (low, high) = grid.codes();
        let pack = |p: &[GroupParams], codes: &[u8]| grid.pack(1, 64, p, codes).map_err(|e| e.code()).err();
        assert_eq!(pack(&[p; 2], &[low; 64]), None, "{name}");
        assert_eq!(pack(&[p; 1], &[low; 64]), Some("weight-length"), "{name}");
        assert_eq!(pack(&[p; 2], &[low; 63]), Some("weight-length"), "{name}");
        if high < 255 {
            assert_eq!(pack(&[p; 2], &[high + 1; 64]), Some("code-out-of-range"), "{name}");
        }
        let huge = grid.fit(&[f32::MAX, -f32::MAX], &[1.0; 2]);
        assert!(!huge.is_finite(), "{name}: {huge:?}");
        assert_eq!(pack(&[p, huge], &[low; 64]), Some("scale-overflow"), "{name}");
    }
    let grid = IntGroups { bits: 9, group_size: 0, symmetric: true, scale_type: ScaleType::F16, fit: Fit::Search };
    let p = grid.fit(&[1.0; 32], &[1.0; 32]);
    assert_eq!(grid.pack(1, 32, &[p], &[0; 32]).unwrap_err().code(), "unsupported-bits");
}

#[test]
fn packs_whole_rows_and_rows_with_a_short_last_group() {
    let mut random = Random::new(17);
    let x: Vec<f32> = (0..80).map(|_| random.normal()).collect();
    for (group_size, groups, name) in [(0, 1, "int4 rows"), (32, 2, "int4 g32"), (128, 1, "int4 rows")] {
        let grid = IntGroups { bits: 4, group_size, symmetric: false, scale_type: ScaleType::F16, fit: Fit::Search };
        let size = if group_size == 0 { 40 } else { group_size };
        let rows = x.chunks(40);
        let params: Vec<_> = rows.flat_map(|r| r.chunks(size).map(|g| grid.fit(g, &vec![1.0; g.len()]))).collect();
        assert_eq!(params.len(), 2 * groups);
        let param = |i: usize| params[i / 40 * groups + i % 40 / size];
        let codes: Vec<u8> = x.iter().enumerate().map(|(i, v)| grid.round(param(i), *v)).collect();
        let packed = grid.pack(2, 40, &params, &codes).unwrap();
        assert_eq!(packed.encoding_name(), name);
        let found = packed.dequantize();
        for (i, &q) in codes.iter().enumerate() {
            assert_eq!(found.data[i], grid.value(param(i), q));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fit_and_round_never_panic(bits in any::<[u32; 33]>(), weights in any::<[u32; 33]>(), n in 1usize..33) {
        let (x, w) = (bits.map(f32::from_bits), weights.map(f32::from_bits));
        for (_, grid) in grids() {
            let p = grid.fit(&x[..n], &w[..n]);
            for v in &x[..n] {
                let q = grid.round(p, *v);
                let _ = grid.value(p, q);
            }
        }
    }
}

#[test]
fn another_scale_moves_every_value_in_proportion_to_its_code() {
    let values: Vec<f32> = (0..32).map(|i| ((i * 37) % 41) as f32 / 20.0 - 0.7).collect();
    for (name, grid) in grids() {
        let p = grid.fit_plain(&values);
        let (low, high) = grid.codes();
        let [one, two, half] = [1.0, 2.0, 0.5].map(|scale| grid.with_scale(p, scale));
        assert_eq!((one.scale, two.scale, half.scale), (1.0, 2.0, 0.5), "{name}");
        for q in low..=high {
            let step = grid.value(two, q) - grid.value(one, q);
            assert!((grid.value(one, q) - grid.value(half, q) - 0.5 * step).abs() < 1e-6, "{name} {q}");
            let again = grid.value(grid.with_scale(p, p.scale), q);
            assert!((again - grid.value(p, q)).abs() < 1e-6, "{name} {q}");
        }
    }
}
