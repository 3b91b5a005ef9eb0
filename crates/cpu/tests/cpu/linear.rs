use honelm_backend::{Activation, Backend};
use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::common::{assert_close, backend, instruction_sets, random, same_bits, test_weights, values};
use honelm_cpu::int8::Int8Weight;
use honelm_cpu::{Compute, Isa, reference};

fn linear(isa: Isa, threads: usize, compute: Compute, w: &WeightData, bias: Option<&[f32]>, x: &Matrix) -> Matrix {
    let mut b = backend(isa, threads, compute);
    let w = b.upload(w.clone(), bias).unwrap();
    let x = b.input(x);
    let y = b.linear(&x, &w);
    values(&mut b, &y)
}

fn f32_weight(matrix: &Matrix) -> WeightData {
    BlockMatrix::quantize(matrix, Encoding::F32, None).unwrap().into()
}

#[test]
fn float_products_match_the_reference_at_every_edge() {
    for isa in instruction_sets() {
        for n in [1, 2, 3, 5, 11, 12, 13, 25] {
            for k in [1, 15, 16, 17, 31, 33, 172, 256, 300] {
                for m in [1, 15, 16, 17, 31, 33, 172] {
                    let (x, w) = (random(n, k, 1), random(m, k, 2));
                    let bias: Vec<f32> = (0..m).map(|i| i as f32 * 0.1).collect();
                    let expected = reference::linear(&x, &w, Some(&bias));
                    let found = linear(isa, 2, Compute::Fast, &f32_weight(&w), Some(&bias), &x);
                    assert_close(&found, &expected, 3e-5, &format!("{isa} [{n}, {k}] x [{m}, {k}]"));
                }
            }
        }
    }
}

#[test]
fn encoded_products_match_the_reference() {
    for isa in instruction_sets() {
        for (n, k, m) in [(1, 256, 33), (14, 512, 70), (3, 768, 16)] {
            let x = random(n, k, 3);
            for w in test_weights(&random(m, k, 4)) {
                let expected = reference::linear(&x, &w.dequantize(), None);
                let name = format!("{isa} {} {n} {k} {m}", w.encoding_name());
                assert_close(&linear(isa, 2, Compute::F32, &w, None, &x), &expected, 1e-4, &name);
                let scale = expected.data.iter().map(|v| v * v).sum::<f32>() / expected.data.len() as f32;
                let fast = linear(isa, 2, Compute::Fast, &w, None, &x);
                for (a, b) in fast.data.iter().zip(&expected.data) {
                    assert!((a - b).abs() < 0.03 * scale.sqrt() + 0.02, "{name}: {a} for {b}");
                }
            }
        }
    }
}

#[test]
fn rounded_inputs_in_f32_are_those_of_the_fast_products() {
    let mut x = random(3, 512, 21);
    x.data.iter_mut().step_by(37).for_each(|v| *v *= 40.0);
    for w in test_weights(&random(20, 512, 22)) {
        let mut b = backend(Isa::detect(), 1, Compute::F32);
        let (chosen, other) = (b.upload(w.clone(), None).unwrap(), b.upload(w.clone(), None).unwrap());
        b.round_inputs(&[&chosen]);
        let input = b.input(&x);
        let found = b.linear(&input, &chosen);
        let found = values(&mut b, &found);
        let name = w.encoding_name();
        assert_close(&found, &linear(Isa::detect(), 1, Compute::Fast, &w, None, &x), 1e-4, &name);
        let input = b.input(&x);
        let exact = b.linear(&input, &other);
        let exact = values(&mut b, &exact);
        assert!(same_bits(&exact.data, &linear(Isa::detect(), 1, Compute::F32, &w, None, &x).data), "{name}");
        let rounds = Int8Weight::pack(&w, Isa::Generic).is_some();
        assert_eq!(same_bits(&exact.data, &found.data), !rounds, "{name}");
        // Two products share an input, and only one of them rounds it.
        let gain = b.upload_vector(&[1.0; 512]).unwrap();
        let input = b.input(&x);
        let normed = b.rms_norm(&input, &gain, 0.0);
        let (gate, up) = (b.linear(&normed, &chosen), b.linear(&normed, &other));
        let gated = b.gate(gate, &up, Activation::Silu);
        let gated = values(&mut b, &gated);
        let input = b.input(&x);
        let fused = b.norm_gated(&input, &gain, 0.0, &chosen, &other, Activation::Silu);
        assert!(same_bits(&values(&mut b, &fused).data, &gated.data), "{name}");
    }
}

#[test]
fn columns_that_fill_no_blocks_run_as_floats() {
    let (x, w) = (random(3, 172, 5), random(64, 172, 6));
    for encoding in [Encoding::F16, Encoding::BF16] {
        let w: WeightData = BlockMatrix::quantize(&w, encoding, None).unwrap().into();
        let expected = reference::linear(&x, &w.dequantize(), None);
        assert_close(&linear(Isa::detect(), 1, Compute::Fast, &w, None, &x), &expected, 3e-5, encoding.name());
    }
}

#[test]
fn instruction_sets_give_the_same_bits() {
    let x = random(13, 512, 7);
    for w in test_weights(&random(50, 512, 8)) {
        for compute in [Compute::F32, Compute::Fast] {
            let first = linear(Isa::Generic, 1, compute, &w, None, &x);
            for isa in instruction_sets() {
                let found = linear(isa, 2, compute, &w, None, &x);
                assert!(same_bits(&found.data, &first.data), "{isa} {compute:?} {}", w.encoding_name());
            }
        }
    }
}

/// A row alone, among 16 and among 500, with 1 to 3 threads.
#[test]
fn a_row_does_not_depend_on_its_neighbours_or_threads() {
    let many = random(501, 512, 9);
    for isa in instruction_sets() {
        for w in test_weights(&random(40, 512, 10)) {
            for compute in [Compute::F32, Compute::Fast] {
                if isa == Isa::Generic && compute == Compute::Fast {
                    continue;
                }
                let name = format!("{isa} {compute:?} {}", w.encoding_name());
                let all = linear(isa, 2, compute, &w, None, &many);
                for (rows, row) in [(1, 0), (1, 500), (16, 5), (16, 15), (3, 2)] {
                    let first = (row + 1usize).saturating_sub(rows);
                    let data = many.data[first * 512..(first + rows) * 512].to_vec();
                    let some = linear(isa, rows % 3 + 1, compute, &w, None, &Matrix::new(rows, 512, data));
                    assert!(same_bits(some.row(row - first), all.row(row)), "{name}: row {row} among {rows}");
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_affect_only_their_row() {
    for isa in instruction_sets() {
        let mut x = random(5, 256, 11);
        x.row_mut(0)[3] = f32::NAN;
        x.row_mut(2)[200] = f32::INFINITY;
        x.row_mut(4).fill(1e-42);
        for w in test_weights(&random(20, 256, 12)) {
            for compute in [Compute::F32, Compute::Fast] {
                let y = linear(isa, 2, compute, &w, None, &x);
                let name = format!("{isa} {compute:?} {}", w.encoding_name());
                assert!(y.row(0).iter().all(|v| v.is_nan()), "{name}");
                assert!(y.row(2).iter().all(|v| !v.is_finite()), "{name}");
                for r in [1, 3, 4] {
                    assert!(y.row(r).iter().all(|v| v.is_finite()), "{name}");
                }
                let zeros = linear(isa, 1, compute, &w, None, &Matrix::zeros(2, 256));
                assert!(zeros.data.iter().all(|v| *v == 0.0), "{name}");
            }
        }
    }
}

#[test]
fn fused_forms_equal_the_plain_ones() {
    for compute in [Compute::F32, Compute::Fast] {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Q8_0, Encoding::Q4K] {
            for n in [1, 7, 30] {
                let weight = |rows, cols, seed| {
                    WeightData::from(BlockMatrix::quantize(&random(rows, cols, seed), encoding, None).unwrap())
                };
                let mut b = backend(Isa::detect(), 2, compute);
                let bias: Vec<f32> = (0..256).map(|i| i as f32 * 0.01).collect();
                let q = b.upload(weight(256, 256, 13), Some(&bias)).unwrap();
                let k = b.upload(weight(72, 256, 14), None).unwrap();
                let (gate, up) =
                    (b.upload(weight(200, 256, 15), None).unwrap(), b.upload(weight(200, 256, 16), None).unwrap());
                let gain = b.upload_vector(random(1, 256, 17).row(0)).unwrap();
                let x = b.input(&random(n, 256, 18));
                let h = b.rms_norm(&x, &gain, 1e-5);
                let plain = [b.linear(&h, &q), b.linear(&h, &k)].map(|t| values(&mut b, &t));
                let fused = b.norm_linears(&x, &gain, 1e-5, &[&q, &k]);
                for (fused, plain) in fused.iter().zip(&plain) {
                    assert!(same_bits(&values(&mut b, fused).data, &plain.data), "{encoding} {n}");
                }
                let (g, u) = (b.linear(&h, &gate), b.linear(&h, &up));
                let plain = b.gate(g, &u, Activation::Silu);
                let fused = b.norm_gated(&x, &gain, 1e-5, &gate, &up, Activation::Silu);
                assert!(same_bits(&values(&mut b, &fused).data, &values(&mut b, &plain).data), "{encoding} {n}");
                let y = b.linear(&h, &q);
                let plain = b.add(x.clone(), &y);
                let fused = b.linear_add(&h, &q, x.clone());
                assert!(same_bits(&values(&mut b, &fused).data, &values(&mut b, &plain).data), "{encoding} {n}");
                assert!(same_bits(&values(&mut b, &x).data, &random(n, 256, 18).data), "a shared residual changed");
            }
        }
    }
}
