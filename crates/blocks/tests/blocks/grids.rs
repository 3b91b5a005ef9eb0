//! Grids: a sweep sees the values that a reader decodes, and searches do better than plain fits.

use crate::common::Random;
use honelm_blocks::{
    BiasGroups, BlockError, BlockMatrix, Encoding, Fit, Grid, GroupParams, IntGroups, ScaleType, TwoLevel, WeightData,
};
use honelm_tensor::Matrix;
use proptest::prelude::*;

fn bias_grids() -> Vec<BiasGroups> {
    let mut out = Vec::new();
    for bits in 2..=8 {
        for scale_type in [ScaleType::F16, ScaleType::BF16, ScaleType::F32] {
            for fit in [Fit::MinMax, Fit::Search] {
                out.push(BiasGroups { bits, group_size: 32, scale_type, fit });
            }
        }
    }
    out
}

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

/// Every grid by name, with groups of 16 or 32.
fn grids() -> Vec<(String, Box<dyn Grid>)> {
    let blocks = Encoding::ALL.into_iter().filter_map(|e| {
        let grid = e.grid()?;
        Some((e.to_string(), Box::new(Borrowed(grid)) as Box<dyn Grid>))
    });
    let biased = bias_grids().into_iter().map(|g| (format!("{g:?}"), Box::new(g) as Box<dyn Grid>));
    blocks
        .chain(biased)
        .chain(int_grids().into_iter().map(|g| (format!("{g:?}"), Box::new(g) as Box<dyn Grid>)))
        .collect()
}

/// The grids whose groups have parameters of their own and a plain fit.
fn plain_grids() -> Vec<(String, Box<dyn Grid>)> {
    grids().into_iter().filter(|(_, grid)| grid.has_plain_fit()).collect()
}

/// Returns the parameters of all groups of `x`, superblock after superblock.
fn fit_all(grid: &dyn Grid, x: &[f32], w: &[f32]) -> Vec<GroupParams> {
    let none = GroupParams { scale: f32::NAN, offset: f32::NAN };
    let fit = |(x, w): (&[f32], &[f32])| {
        let mut params = vec![none; x.len() / grid.group_size()];
        grid.fit_superblock(x, w, &mut params);
        params
    };
    x.chunks(grid.superblock()).zip(w.chunks(grid.superblock())).flat_map(fit).collect()
}

/// Returns the codes of `x`, columns weighted by `w` where codes are chosen by units.
fn round_all(grid: &dyn Grid, params: &[GroupParams], x: &[f32], w: &[f32]) -> Vec<u8> {
    let unit = grid.unit();
    let mut codes = vec![0; x.len()];
    for (i, codes) in codes.chunks_mut(unit).enumerate() {
        let (x, w) = (&x[i * unit..][..unit], &w[i * unit..][..unit]);
        let metric: Vec<f32> = (0..unit * unit).map(|n| if n / unit == n % unit { w[n % unit] } else { 0.0 }).collect();
        grid.round_unit(params[i * unit / grid.group_size()], x, &metric, codes);
    }
    codes
}

struct Borrowed(&'static dyn Grid);

impl Grid for Borrowed {
    fn group_size(&self) -> usize {
        self.0.group_size()
    }
    fn superblock(&self) -> usize {
        self.0.superblock()
    }
    fn unit(&self) -> usize {
        self.0.unit()
    }
    fn round_unit(&self, p: GroupParams, x: &[f32], metric: &[f32], codes: &mut [u8]) {
        self.0.round_unit(p, x, metric, codes);
    }
    fn two_level(&self) -> Option<&TwoLevel> {
        self.0.two_level()
    }
    fn has_plain_fit(&self) -> bool {
        self.0.has_plain_fit()
    }
    fn fit_superblock(&self, values: &[f32], importance: &[f32], params: &mut [GroupParams]) {
        self.0.fit_superblock(values, importance, params);
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
    fn neighbours(&self, p: GroupParams) -> Option<[GroupParams; 2]> {
        self.0.neighbours(p)
    }
    fn with_offset(&self, p: GroupParams, offset: f32) -> Option<GroupParams> {
        self.0.with_offset(p, offset)
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
    let (params, size) = (fit_all(grid, x, w), grid.group_size());
    let codes = round_all(grid, &params, x, w);
    let packed = grid.pack(rows, cols, &params, &codes).unwrap();
    let found = packed.dequantize();
    for (i, &q) in codes.iter().enumerate() {
        let value = grid.value(params[i / size], q);
        // Equal but for the sign of zero: scale and integer of a group of zeros may both change their sign.
        assert_eq!(found.data[i], value, "{name} value {i}");
    }
}

#[test]
fn packed_values_are_the_values_of_the_sweep() {
    let mut random = Random::new(3);
    for (name, grid) in grids() {
        let mut x: Vec<f32> = (0..4 * 256).map(|_| 0.1 * random.normal()).collect();
        x[..32].fill(0.0);
        x[32..64].fill(-0.25);
        x[64..96].iter_mut().for_each(|v| *v *= 1e-7);
        x[96..128].iter_mut().for_each(|v| *v = v.abs());
        x[256..512].fill(0.0);
        x[512..768].iter_mut().for_each(|v| *v *= 1e-7);
        x[768..].iter_mut().for_each(|v| *v *= 1e3);
        let w: Vec<f32> = x.iter().map(|_| random.uniform()).collect();
        fit_and_pack(&name, &*grid, 4, &x, &w);
    }
}

#[test]
fn every_code_of_random_parameters_packs_to_its_value() {
    let mut random = Random::new(5);
    for (name, grid) in grids().into_iter().filter(|(_, grid)| grid.unit() == 1) {
        let (low, high) = grid.codes();
        let x: Vec<f32> = (0..512).map(|_| random.normal() + 0.3).collect();
        let (params, size) = (fit_all(&*grid, &x, &[1.0; 512]), grid.group_size());
        let codes: Vec<u8> = (0..512).map(|i| low + (i % (usize::from(high - low) + 1)) as u8).collect();
        let found = grid.pack(2, 256, &params, &codes).unwrap().dequantize();
        for (i, &q) in codes.iter().enumerate() {
            assert_eq!(found.data[i].to_bits(), grid.value(params[i / size], q).to_bits(), "{name} code {q}");
        }
    }
}

#[test]
fn rounds_to_the_nearest_code() {
    let mut random = Random::new(9);
    for (name, grid) in grids().into_iter().filter(|(_, grid)| grid.unit() == 1) {
        let x: Vec<f32> = (0..256).map(|_| random.normal()).collect();
        let p = fit_all(&*grid, &x, &[1.0; 256])[0];
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
    for (name, grid) in plain_grids() {
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
fn biases_follow_the_conventions_of_mlx() {
    let grid = |scale_type| BiasGroups { bits: 2, group_size: 4, scale_type, fit: Fit::MinMax };
    // The end farther from 0 is exact, and 0 is a code: mx.quantize of these values with 2 bits.
    for (x, scale, bias) in [
        ([-0.5f32, 1.0, 0.25, 0.0], -0.5, 1.0),
        ([0.5, -1.0, 0.25, 0.0], 0.5, -1.0),
        ([8.0, 7.0, 7.5, 7.25], -8.0 / 24.0, 8.0),
    ] {
        let p = grid(ScaleType::F32).fit(&x, &[1.0; 4]);
        assert_eq!((p.scale, p.offset), (scale, bias));
    }
    // A constant group is exact.
    let constant = grid(ScaleType::F16).fit(&[0.25; 4], &[1.0; 4]);
    assert_eq!(grid(ScaleType::F16).value(constant, grid(ScaleType::F16).round(constant, 0.25)), 0.25);
    let moved = grid(ScaleType::BF16).with_offset(constant, 0.3);
    assert_eq!(moved.map(|p| (p.scale, p.offset)), Some((constant.scale, 0.300_781_25)));
}

#[test]
fn zero_groups_are_canonical() {
    for (name, grid) in grids() {
        let p = grid.fit(&[0.0; 32], &[1.0; 32]);
        // MXFP4 has no scale 0.
        if name != "MXFP4" {
            assert_eq!(p.scale, 0.0, "{name}");
            assert_eq!(grid.round(p, 1.0), grid.zero_code(), "{name}");
        }
        assert_eq!(grid.round(p, 0.0), grid.zero_code(), "{name}");
        assert_eq!(grid.value(p, grid.zero_code()), 0.0, "{name}");
    }
}

#[test]
fn pack_refuses_what_it_cannot_hold() {
    for (name, grid) in grids() {
        let params = fit_all(&*grid, &[0.5; 256], &[1.0; 256]);
        let (low, high) = grid.codes();
        let pack = |p: &[GroupParams], codes: &[u8]| grid.pack(1, 256, p, codes).map_err(|e| e.code()).err();
        assert_eq!(pack(&params, &[low; 256]), None, "{name}");
        assert_eq!(pack(&params[1..], &[low; 256]), Some("weight-length"), "{name}");
        assert_eq!(pack(&params, &[low; 255]), Some("weight-length"), "{name}");
        if high < 255 {
            assert_eq!(pack(&params, &[high + 1; 256]), Some("code-out-of-range"), "{name}");
        }
        // The scales of MXFP4 have the range of single precision.
        if name == "MXFP4" {
            continue;
        }
        let (mut large, ones) = (vec![0.5; 256], vec![1.0; 256]);
        (large[3], large[4]) = (f32::MAX, -f32::MAX);
        let huge = fit_all(&*grid, &large, &ones);
        assert!(!huge[0].is_finite(), "{name}: {:?}", huge[0]);
        assert_eq!(pack(&huge, &[low; 256]), Some("scale-overflow"), "{name}");
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

#[test]
fn parameters_that_do_not_share_a_factor_are_refused() {
    for (name, grid) in grids().into_iter().filter(|(_, grid)| grid.two_level().is_some()) {
        let x: Vec<f32> = (0..256).map(|i| ((i * 37) % 41) as f32 / 20.0 - 0.7).collect();
        let mut params = fit_all(&*grid, &x, &[1.0; 256]);
        assert!(grid.pack(1, 256, &params, &[0; 256]).is_ok(), "{name}");
        params[5].scale *= 1.01;
        let error = grid.pack(1, 256, &params, &[0; 256]).unwrap_err();
        assert_eq!(error.code(), "scale-not-representable", "{name}: {error}");
    }
}

#[test]
fn a_point_is_as_near_as_the_metric_says_and_other_codes_are_refused() {
    let mut random = Random::new(23);
    for (name, grid) in grids().into_iter().filter(|(_, grid)| grid.unit() > 1) {
        let x: Vec<f32> = (0..256).map(|_| random.normal()).collect();
        let params = fit_all(&*grid, &x, &[1.0; 256]);
        let (unit, p) = (grid.unit(), params[0]);
        // A metric in which the errors of neighbours add up.
        let metric: Vec<f32> = (0..unit * unit).map(|n| 0.8f32.powi((n / unit).abs_diff(n % unit) as i32)).collect();
        let error = |x: &[f32], codes: &[u8]| {
            let d: Vec<f32> = x.iter().zip(codes).map(|(x, &q)| x - grid.value(p, q)).collect();
            (0..unit * unit).map(|n| d[n / unit] * metric[n] * d[n % unit]).sum::<f32>()
        };
        let (mut correlated, mut plain) = (0.0, 0.0);
        for x in x.chunks(unit) {
            let mut codes = vec![0; unit];
            grid.round_unit(p, x, &metric, &mut codes);
            correlated += error(x, &codes);
            let ones: Vec<f32> = (0..unit * unit).map(|n| f32::from(u8::from(n / unit == n % unit))).collect();
            grid.round_unit(p, x, &ones, &mut codes);
            plain += error(x, &codes);
        }
        assert!(correlated < 0.95 * plain, "{name}: {correlated} {plain}");
        let mut codes = round_all(&*grid, &params, &x, &[1.0; 256]);
        let (_, high) = grid.codes();
        for c in 0..unit {
            codes[64 + c] = high - 2 * u8::from(c % 2 == 1);
        }
        let error = grid.pack(1, 256, &params, &codes).unwrap_err();
        assert!(matches!(error, BlockError::Point { row: 0, column: 64, .. }), "{name}: {error}");
    }
}

#[test]
fn fit_round_and_pack_give_the_bytes_of_the_encoder() {
    let mut random = Random::new(19);
    for encoding in Encoding::ALL {
        let Some(grid) = encoding.grid().filter(|grid| !grid.has_plain_fit()) else { continue };
        let x: Vec<f32> = (0..512).map(|_| 0.02 * random.heavy(2.0)).collect();
        let w: Vec<f32> = (0..512).map(|_| random.normal().powi(2) + 0.01).collect();
        let params = fit_all(grid, &x, &w);
        let codes = round_all(grid, &params, &x, &w);
        let found = grid.pack(1, 512, &params, &codes).unwrap().dequantize();
        let encoded = BlockMatrix::quantize(&Matrix::new(1, 512, x), encoding, Some(&w)).unwrap();
        let expected = WeightData::from(encoded).dequantize();
        assert!(found.data.iter().zip(&expected.data).all(|(a, b)| a.to_bits() == b.to_bits()), "{encoding}");
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
            let size = 1e-6 * (1.0 + grid.value(two, q).abs());
            assert!((grid.value(one, q) - grid.value(half, q) - 0.5 * step).abs() < size, "{name} {q}");
            let again = grid.value(grid.with_scale(p, p.scale), q);
            assert!((again - grid.value(p, q)).abs() < 1e-6, "{name} {q}");
        }
    }
}
