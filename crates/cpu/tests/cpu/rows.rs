use honelm_backend::{Activation, Backend, Rope};
use honelm_tensor::Matrix;

use crate::common::{assert_close, backend, begin_rows, instruction_sets, random, same_bits, values};
use honelm_cpu::{Compute, Isa, reference};

const LENGTHS: [usize; 9] = [1, 2, 15, 16, 17, 31, 33, 172, 256];

#[test]
fn rms_norm_matches_the_reference() {
    for isa in instruction_sets() {
        for cols in LENGTHS {
            for runs in [1, 3] {
                let (mut x, gain) = (random(4, cols * runs, 1), random(1, cols, 2));
                x.row_mut(1).fill(0.0);
                x.row_mut(2).iter_mut().for_each(|v| *v *= 1e15);
                let mut b = backend(isa, 2, Compute::Fast);
                let weight = b.upload_vector(gain.row(0)).unwrap();
                let input = b.input(&x);
                let y = b.rms_norm(&input, &weight, 1e-5);
                let expected = reference::rms_norm(&x, gain.row(0), 1e-5);
                assert_close(&values(&mut b, &y), &expected, 1e-6, &format!("{isa} {runs} x {cols}"));
            }
        }
    }
}

#[test]
fn layer_norm_matches_the_reference() {
    for isa in instruction_sets() {
        for cols in LENGTHS {
            for (runs, biased) in [(1, true), (3, false)] {
                let (mut x, gain, bias) = (random(4, cols * runs, 1), random(1, cols, 2), random(1, cols, 3));
                x.row_mut(1).fill(0.0);
                x.row_mut(2).iter_mut().for_each(|v| *v *= 1e15);
                let bias = biased.then_some(bias.row(0));
                let mut b = backend(isa, 2, Compute::Fast);
                let norm = b.upload_norm(gain.row(0), bias).unwrap();
                let input = b.input(&x);
                let y = b.layer_norm(&input, &norm, 1e-5);
                let expected = reference::layer_norm(&x, gain.row(0), bias, 1e-5);
                assert_close(&values(&mut b, &y), &expected, 2e-6, &format!("{isa} {runs} x {cols}"));
            }
        }
    }
}

#[test]
fn rope_matches_the_reference() {
    for isa in instruction_sets() {
        for (heads, width, pairs) in [(1, 2, 1), (4, 64, 32), (3, 80, 16), (2, 48, 24), (1, 34, 17)] {
            let frequencies: Vec<f32> = (0..pairs).map(|i| 10000f32.powf(-(i as f32) / pairs as f32)).collect();
            let positions = [0, 1, 7, 500, 8191, 131_071, 3];
            let x = random(positions.len(), heads * width, 3);
            let mut b = backend(isa, 2, Compute::Fast);
            let inverse_frequencies = b.upload_vector(&frequencies).unwrap();
            let rope = Rope { inverse_frequencies, head_width: width, magnitude: 1.25 };
            begin_rows(&mut b, &positions);
            let input = b.input(&x);
            let y = b.rope(input.clone(), &rope);
            let again = b.rope(input, &rope);
            let found = values(&mut b, &y);
            let expected = reference::rope(&x, &positions, &frequencies, width, 1.25);
            assert_close(&found, &expected, 1e-6, &format!("{isa} {heads} x {width}, {pairs} pairs"));
            assert!(same_bits(&values(&mut b, &again).data, &found.data), "a shared input changed");
        }
    }
}

const ACTIVATIONS: [Activation; 4] = [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::GeluTanh];

#[test]
fn gates_match_the_reference() {
    for isa in instruction_sets() {
        for f in ACTIVATIONS {
            for cols in LENGTHS {
                let (mut gate, up) = (random(3, cols, 4), random(3, cols, 5));
                gate.data.iter_mut().step_by(3).for_each(|v| *v *= 20.0);
                let (expected, alone) = (reference::gate(&gate, &up, f), reference::activate(&gate, f));
                let mut b = backend(isa, 2, Compute::Fast);
                let (gate, up) = (b.input(&gate), b.input(&up));
                let y = b.activate(gate.clone(), f);
                assert_close(&values(&mut b, &y), &alone, 1e-6, &format!("{isa} {f:?} {cols}"));
                let y = b.gate(gate, &up, f);
                assert_close(&values(&mut b, &y), &expected, 1e-6, &format!("{isa} {f:?} {cols}"));
            }
        }
    }
}

#[test]
fn gates_treat_extreme_values() {
    let x = Matrix::new(1, 6, vec![f32::NAN, 1e30, -1e30, 0.0, 1e-42, f32::INFINITY]);
    let ones = Matrix::new(1, 6, vec![1.0; 6]);
    for isa in instruction_sets() {
        for f in ACTIVATIONS {
            let mut b = backend(isa, 1, Compute::Fast);
            let (gate, up) = (b.input(&x), b.input(&ones));
            let y = b.gate(gate, &up, f);
            let y = values(&mut b, &y).data;
            assert!(y[0].is_nan() && y[1] == 1e30 && y[2] == 0.0 && y[3] == 0.0, "{isa} {f:?} {y:?}");
            assert!(y[4].abs() <= 1e-42 && y[5] == f32::INFINITY, "{isa} {f:?} {y:?}");
        }
    }
}

#[test]
fn sums_and_caps_match_the_reference() {
    for isa in instruction_sets() {
        for cols in LENGTHS {
            let (x, y) = (random(3, cols, 6), random(3, cols, 7));
            let mut b = backend(isa, 2, Compute::Fast);
            let (tx, ty) = (b.input(&x), b.input(&y));
            let sum = b.add(tx.clone(), &ty);
            let expected: Vec<f32> = x.data.iter().zip(&y.data).map(|(a, b)| a + b).collect();
            assert_eq!(values(&mut b, &sum).data, expected);
            let doubled = b.add(tx.clone(), &tx);
            assert_eq!(values(&mut b, &doubled).data, x.data.iter().map(|v| v + v).collect::<Vec<_>>());
            let scaled = b.scale(tx.clone(), 0.25);
            assert_eq!(values(&mut b, &scaled).data, x.data.iter().map(|v| v * 0.25).collect::<Vec<_>>());
            let capped = b.softcap(tx, 1.5);
            assert_close(&values(&mut b, &capped), &reference::softcap(&x, 1.5), 1e-6, isa.name());
        }
    }
}

#[test]
fn operations_on_many_rows_equal_those_on_each() {
    for isa in instruction_sets() {
        let x = random(300, 130, 8);
        let mut b = backend(isa, 3, Compute::Fast);
        let gain = b.upload_vector(random(1, 130, 9).row(0)).unwrap();
        let all = b.input(&x);
        let normed = b.rms_norm(&all, &gain, 1e-5);
        let gated = b.gate(normed, &all, Activation::GeluTanh);
        let capped = b.softcap(gated, 2.0);
        let sum = b.add(capped, &all);
        let sum = values(&mut b, &sum);
        for r in [0, 17, 299] {
            let one = b.input(&Matrix::new(1, 130, x.row(r).to_vec()));
            let normed = b.rms_norm(&one, &gain, 1e-5);
            let gated = b.gate(normed, &one, Activation::GeluTanh);
            let capped = b.softcap(gated, 2.0);
            let alone = b.add(capped, &one);
            assert!(same_bits(&values(&mut b, &alone).data, sum.row(r)), "{isa} row {r}");
        }
    }
}

#[test]
fn columns_are_a_part_of_every_row() {
    let x = random(300, 130, 8);
    let mut b = backend(Isa::detect(), 3, Compute::Fast);
    let all = b.input(&x);
    for (start, width) in [(0, 130), (40, 17), (129, 1), (7, 0)] {
        let part = b.columns(&all, start, width);
        let expected: Vec<f32> = x.iter_rows().flat_map(|row| &row[start..start + width]).copied().collect();
        assert_eq!(values(&mut b, &part).data, expected);
    }
}

#[test]
fn select_takes_rows_in_order() {
    let x = random(6, 9, 10);
    let mut b = backend(Isa::detect(), 1, Compute::Fast);
    let all = b.input(&x);
    let some = b.select(&all, &[5, 0, 5]);
    let found = values(&mut b, &some);
    assert_eq!(found.data, [x.row(5), x.row(0), x.row(5)].concat());
    let none = b.select(&all, &[]);
    assert_eq!((none.rows(), values(&mut b, &none).data.len()), (0, 0));
}
