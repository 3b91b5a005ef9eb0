use honelm_backend::{Activation, Backend, Batch, Rope, Sampling, Sequences, Value, Want, block_on, choose, uniform};
use honelm_blocks::Encoding;
use honelm_tensor::Matrix;

use super::linear::weight;
use super::{Failure, OperatorCase, Tolerance, compare, magnitudes, small_cache, spoil, step};
use crate::naive::{activate, standardized};
use crate::values::matrix;

const SHAPES: [[usize; 2]; 9] = [[1, 1], [1, 7], [2, 15], [3, 16], [5, 17], [6, 33], [7, 64], [16, 100], [40, 257]];

/// Returns a matrix in which some rows are special.
fn spoiled(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut x = matrix(rows, cols, seed);
    spoil(&mut x);
    x
}

fn map(x: &Matrix, f: impl Fn(usize, usize) -> f64) -> Matrix {
    Matrix::new(x.rows, x.cols, (0..x.data.len()).map(|i| f(i / x.cols, i % x.cols) as f32).collect())
}

pub(super) fn cases() -> Vec<OperatorCase> {
    let mut cases = vec![
        OperatorCase::new("input is read back bit for bit", |b, _| round_trip(b)),
        OperatorCase::new("select", |b, _| select(b)),
        OperatorCase::new("rms_norm of rows", |b, t| {
            SHAPES.iter().try_for_each(|&[rows, cols]| rms_norm(b, t, rows, cols, cols))
        }),
        OperatorCase::new("rms_norm of heads", |b, t| {
            [[1, 2, 8], [3, 3, 20], [5, 4, 64], [17, 2, 128]]
                .iter()
                .try_for_each(|&[rows, heads, width]| rms_norm(b, t, rows, heads * width, width))
        }),
        OperatorCase::new("layer_norm of rows and heads", |b, t| layer_norms(b, t)),
        OperatorCase::new("columns", |b, _| columns(b)),
        OperatorCase::new("positions", |b, t| positions(b, t)),
        OperatorCase::new("rope", |b, t| rope(b, t)),
        OperatorCase::new("scale", |b, t| scale(b, t)),
        OperatorCase::new("add", |b, t| add(b, t)),
        OperatorCase::new("an operand that is used again is not changed", |b, t| shared_operand(b, t)),
        OperatorCase::new("softcap", |b, t| softcap(b, t)),
        OperatorCase::new("sample", |b, _| sample(b)),
    ];
    for f in [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        cases.push(OperatorCase::new(format!("gate {f:?}"), move |b, t| gate(b, t, f)));
        cases.push(OperatorCase::new(format!("activate {f:?}"), move |b, t| activation(b, t, f)));
    }
    cases
}

fn round_trip(b: &mut dyn Backend) -> Result<(), Failure> {
    for [rows, cols] in SHAPES {
        let x = spoiled(rows, cols, 1);
        let found = step(b, &[rows], |b| vec![b.input(&x)])?;
        let bits = |m: &Matrix| m.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if bits(&found[0]) != bits(&x) {
            return Err(Failure::Wrong(format!("{rows} x {cols} values come back changed")));
        }
    }
    Ok(())
}

fn select(b: &mut dyn Backend) -> Result<(), Failure> {
    for [rows, cols] in SHAPES {
        let x = spoiled(rows, cols, 1);
        let wanted: Vec<u32> = (0..rows as u32).rev().step_by(2).chain([0]).collect();
        let found = step(b, &[rows], |b| {
            let x = b.input(&x);
            vec![b.select(&x, &wanted)]
        })?;
        let data = wanted.iter().flat_map(|&r| x.row(r as usize)).copied().collect();
        let expected = Matrix::new(wanted.len(), cols, data);
        compare(&found[0], &expected, &magnitudes(&expected), 0.0)?;
    }
    Ok(())
}

fn rms_norm(b: &mut dyn Backend, t: &Tolerance, rows: usize, cols: usize, width: usize) -> Result<(), Failure> {
    let mut x = spoiled(rows, cols, 2);
    if rows > 5 {
        // The values are so small that eps matters.
        x.row_mut(5).iter_mut().for_each(|v| *v *= 2e-3);
    }
    let gain = matrix(1, width, 3).data;
    let eps = 1e-5f32;
    let expected = map(&x, |r, c| {
        let run = &x.row(r)[c / width * width..][..width];
        let mean = run.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / width as f64;
        f64::from(x.row(r)[c]) / (mean + f64::from(eps)).sqrt() * f64::from(gain[c % width])
    });
    let gain = b.upload_vector(&gain)?;
    let found = step(b, &[rows], |b| {
        let x = b.input(&x);
        vec![b.rms_norm(&x, &gain, eps)]
    })?;
    compare(&found[0], &expected, &magnitudes(&expected), t.elementwise)
}

fn layer_norms(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    let heads = [[1, 16, 8], [3, 60, 20], [5, 256, 64], [40, 256, 128]];
    for [rows, cols, width] in SHAPES.map(|[rows, cols]| [rows, cols, cols]).into_iter().chain(heads) {
        for biased in [false, true] {
            layer_norm(b, t, [rows, cols, width], biased)?;
        }
    }
    Ok(())
}

fn layer_norm(b: &mut dyn Backend, t: &Tolerance, shape: [usize; 3], biased: bool) -> Result<(), Failure> {
    let [rows, cols, width] = shape;
    let mut x = spoiled(rows, cols, 2);
    if rows > 6 {
        // The values are so small that eps matters, with a mean far above the deviation.
        x.row_mut(5).iter_mut().for_each(|v| *v *= 2e-3);
        x.row_mut(6).iter_mut().for_each(|v| *v += 50.0);
    }
    let (gain, bias) = (matrix(1, width, 3).data, matrix(1, width, 4).data);
    let bias = biased.then_some(&bias[..]);
    let eps = 1e-5f32;
    let run = |r: usize, c: usize| &x.row(r)[c / width * width..][..width];
    let normed = |r: usize, c: usize| standardized(run(r, c), eps)(x.row(r)[c]) * f64::from(gain[c % width]);
    let added = |c: usize| bias.map_or(0.0, |bias| f64::from(bias[c % width]));
    let expected = map(&x, |r, c| normed(r, c) + added(c));
    // The error of the difference from the mean is that of the larger of the two.
    let scale = map(&x, |r, c| {
        let (largest, normed) = (run(r, c).iter().fold(0f32, |m, v| m.max(v.abs())), standardized(run(r, c), eps));
        (normed(2.0 * largest) - normed(largest)) * f64::from(gain[c % width].abs()) + added(c).abs()
    });
    let norm = b.upload_norm(&gain, bias)?;
    let found = step(b, &[rows], |b| {
        let x = b.input(&x);
        vec![b.layer_norm(&x, &norm, eps)]
    })?;
    compare(&found[0], &expected, &scale, t.elementwise)
}

fn columns(b: &mut dyn Backend) -> Result<(), Failure> {
    for [rows, cols] in SHAPES {
        let x = spoiled(rows, cols, 1);
        for (start, width) in [(0, cols), (0, cols.div_ceil(2)), (cols / 2, cols - cols / 2), (cols - 1, 1)] {
            let found = step(b, &[rows], |b| {
                let x = b.input(&x);
                vec![b.columns(&x, start, width)]
            })?;
            let data = (0..rows).flat_map(|r| &x.row(r)[start..start + width]).copied().collect();
            let expected = Matrix::new(rows, width, data);
            compare(&found[0], &expected, &magnitudes(&expected), 0.0)?;
        }
    }
    Ok(())
}

/// Checks that every sequence counts its positions from 0.
fn positions(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    let table = matrix(44, 33, 12);
    let uploaded = b.upload(weight(Encoding::F32, 44, 33, 12), None)?;
    for offset in [0, 2] {
        let segments = [1, 40, 3];
        let found = step(b, &segments, |b| vec![b.positions(&uploaded, offset)])?;
        let rows: Vec<usize> = segments.iter().flat_map(|&n| offset..offset + n).collect();
        let data = rows.iter().flat_map(|&r| table.row(r)).copied().collect();
        let expected = Matrix::new(rows.len(), table.cols, data);
        compare(&found[0], &expected, &magnitudes(&expected), t.elementwise)?;
    }
    Ok(())
}

fn rope(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    // Heads, head width, rotated pairs, factor, rows.
    let shapes =
        [(1, 2, 1, 1.0, 3), (2, 8, 4, 1.0, 5), (3, 20, 7, 1.2, 17), (4, 64, 32, 1.0, 33), (2, 128, 16, 0.8, 300)];
    for (heads, width, pairs, magnitude, rows) in shapes {
        let x = matrix(rows, heads * width, 4);
        let frequencies: Vec<f32> = (0..pairs).map(|i| 10_000f32.powf(-(i as f32) / pairs as f32)).collect();
        // The value and the partner of each rotated value.
        let pair = |r: usize, c: usize| {
            let (head, i) = (c / width * width, c % width);
            let (first, second) =
                (f64::from(x.row(r)[head + i % pairs]), f64::from(x.row(r)[head + i % pairs + pairs]));
            (i, first, second)
        };
        let rotated = |r: usize, c: usize| {
            if c % width >= 2 * pairs {
                return f64::from(x.row(r)[c]);
            }
            let (i, first, second) = pair(r, c);
            let (sin, cos) = (r as f64 * f64::from(frequencies[i % pairs])).sin_cos();
            f64::from(magnitude) * if i < pairs { first * cos - second * sin } else { second * cos + first * sin }
        };
        let expected = map(&x, rotated);
        let scale = map(&x, |r, c| {
            if c % width >= 2 * pairs {
                return 0.0;
            }
            let (_, first, second) = pair(r, c);
            first.hypot(second)
        });
        let rope = Rope { inverse_frequencies: b.upload_vector(&frequencies)?, head_width: width, magnitude };
        let found = step(b, &[rows], |b| {
            let x = b.input(&x);
            vec![b.rope(x, &rope)]
        })?;
        compare(&found[0], &expected, &scale, 5.0 * t.elementwise)?;
    }
    Ok(())
}

/// Returns values from the middle of an activation's curve to its ends, where naive formulas overflow.
fn curve(rows: usize, cols: usize) -> Matrix {
    let mut x = spoiled(rows, cols, 5);
    for (i, v) in x.row_mut(0).iter_mut().enumerate() {
        *v *= [1.0, 4.0, 20.0, 100.0, 1000.0][i % 5];
    }
    x
}

fn activation(b: &mut dyn Backend, t: &Tolerance, f: Activation) -> Result<(), Failure> {
    for [rows, cols] in SHAPES {
        let x = curve(rows, cols);
        let expected = map(&x, |r, c| activate(f64::from(x.row(r)[c]), f));
        let found = step(b, &[rows], |b| {
            let x = b.input(&x);
            vec![b.activate(x, f)]
        })?;
        compare(&found[0], &expected, &magnitudes(&x), t.elementwise)?;
    }
    Ok(())
}

fn scale(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    for ([rows, cols], factor) in SHAPES.into_iter().zip([12.0f32, 0.22, -1.5].into_iter().cycle()) {
        let x = spoiled(rows, cols, 10);
        let expected = map(&x, |r, c| f64::from(x.row(r)[c]) * f64::from(factor));
        let found = step(b, &[rows], |b| {
            let x = b.input(&x);
            vec![b.scale(x, factor)]
        })?;
        compare(&found[0], &expected, &magnitudes(&expected), t.elementwise)?;
    }
    Ok(())
}

fn gate(b: &mut dyn Backend, t: &Tolerance, f: Activation) -> Result<(), Failure> {
    for [rows, cols] in SHAPES {
        let g = curve(rows, cols);
        let up = matrix(rows, cols, 6);
        let expected = map(&g, |r, c| activate(f64::from(g.row(r)[c]), f) * f64::from(up.row(r)[c]));
        let scale = map(&g, |r, c| f64::from(g.row(r)[c]).abs() * f64::from(up.row(r)[c]).abs());
        let found = step(b, &[rows], |b| {
            let (g, up) = (b.input(&g), b.input(&up));
            vec![b.gate(g, &up, f)]
        })?;
        compare(&found[0], &expected, &scale, t.elementwise)?;
    }
    Ok(())
}

fn add(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    for [rows, cols] in SHAPES {
        let (x, y) = (spoiled(rows, cols, 7), matrix(rows, cols, 8));
        let expected = map(&x, |r, c| f64::from(x.row(r)[c]) + f64::from(y.row(r)[c]));
        let found = step(b, &[rows], |b| {
            let (x, y) = (b.input(&x), b.input(&y));
            vec![b.add(x, &y)]
        })?;
        compare(&found[0], &expected, &magnitudes(&expected), t.elementwise)?;
    }
    Ok(())
}

/// Checks that operations do not work in place while another handle to the operand is alive.
fn shared_operand(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    let (x, y) = (matrix(3, 18, 7), matrix(3, 18, 8));
    let rope_frequencies = b.upload_vector(&[1.0, 0.1])?;
    let rope = Rope { inverse_frequencies: rope_frequencies, head_width: 6, magnitude: 1.0 };
    let found = step(b, &[3], |b| {
        let (keep, y) = (b.input(&x), b.input(&y));
        let sum = b.add(keep.clone(), &y);
        let turned = b.rope(keep.clone(), &rope);
        let gated = b.gate(keep.clone(), &y, Activation::Silu);
        let capped = b.softcap(keep.clone(), 2.0);
        let scaled = b.scale(keep.clone(), 2.0);
        let active = b.activate(keep.clone(), Activation::Relu);
        // A pinned output counts as a handle.
        b.output(9, &sum);
        let again = b.add(sum, &y);
        vec![keep, turned, gated, capped, scaled, active, again]
    })?;
    compare(&found[0], &x, &magnitudes(&x), 0.0)?;
    let sum = map(&x, |r, c| f64::from(x.row(r)[c]) + f64::from(y.row(r)[c]));
    compare(&found[7], &sum, &magnitudes(&sum), t.elementwise)
}

fn softcap(b: &mut dyn Backend, t: &Tolerance) -> Result<(), Failure> {
    for ([rows, cols], cap) in SHAPES.into_iter().zip([30.0f32, 1.0, 50.0].into_iter().cycle()) {
        let mut x = spoiled(rows, cols, 9);
        x.row_mut(0).iter_mut().for_each(|v| *v *= 40.0);
        let expected = map(&x, |r, c| f64::from(cap) * (f64::from(x.row(r)[c]) / f64::from(cap)).tanh());
        let scale = map(&expected, |r, c| f64::from(expected.row(r)[c]).abs() + 0.01 * f64::from(cap));
        let found = step(b, &[rows], |b| {
            let x = b.input(&x);
            vec![b.softcap(x, cap)]
        })?;
        compare(&found[0], &expected, &scale, t.elementwise)?;
    }
    Ok(())
}

/// Checks that draws equal those of [`choose`] at the rows' own positions and settings.
fn sample(b: &mut dyn Backend) -> Result<(), Failure> {
    const V: usize = 1500;
    let sampled_rows = [0u32, 3, 4, 9, 10, 11, 12];
    let rows = sampled_rows.len();
    let data = (0..rows * V).map(|i| 14.0 * uniform(1, 1, i as u64, 0).powi(8)).collect();
    let mut logits = Matrix::new(rows, V, data);
    logits.row_mut(5).fill(f32::NAN);
    logits.row_mut(6)[3..].fill(f32::NAN);
    let base = Sampling { temperature: 0.8, seed: 11, stream: 2, ..Sampling::GREEDY };
    let how = [
        Sampling::GREEDY,
        base,
        Sampling { top_k: 40, ..base },
        Sampling { top_p: 0.9, stream: 7, ..base },
        Sampling { min_p: 0.05, seed: u64::MAX, ..base },
        base,
        Sampling { temperature: 1.5, ..base },
    ];
    let settings: Vec<(u32, Sampling)> = sampled_rows.into_iter().zip(how).collect();
    let cache = b.create_cache(small_cache())?;
    let mut sequences = Sequences::new(&cache.spec().groups, cache.spec().page_len, 100, 0);
    let mut batch = Batch::default();
    batch.extend(sequences.open(), &[0; 4], Want::NOTHING);
    batch.extend(sequences.open(), &[0; 9], Want::NOTHING);
    let described = sequences.step(&batch)?;
    let at = |row: u32| u64::from(described.positions[row as usize]);
    let expected: Vec<u32> =
        settings.iter().enumerate().map(|(i, (row, how))| choose(logits.row(i), how, at(*row))).collect();
    b.begin(described.clone(), &cache)?;
    let x = b.input(&logits);
    b.sample(3, &x, &settings);
    let ticket = b.submit();
    let found = block_on(b.read(ticket))?;
    if found != vec![(3, Value::Tokens(expected.clone()))] {
        return Err(Failure::Wrong(format!("drew {found:?}, not {expected:?}")));
    }
    match block_on(b.read(ticket)) {
        Err(e) if e.code() == "unknown-ticket" => Ok(()),
        other => Err(Failure::Wrong(format!("a second read of a ticket gave {other:?}"))),
    }
}
