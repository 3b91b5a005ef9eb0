//! The numbers of quantised matrices: linearity, gradients, rounding.

use honelm_blocks::{BiasGroups, BlockError, BlockMatrix, Encoding, Fit, Grid, IntGroups, ScaleType, WeightData};
use honelm_tensor::Matrix;
use honelm_train::{Numbers, number_fields};

fn values(rows: usize, cols: usize) -> Matrix {
    let value = |i: usize| ((i * 7919 + i / 3 * 104_729) % 2003) as f32 / 700.0 - 1.4;
    Matrix::new(rows, cols, (0..rows * cols).map(value).collect())
}

fn grouped(grid: &dyn Grid, w: &Matrix) -> WeightData {
    let ones = vec![1.0; grid.group_size()];
    let params: Vec<_> = w.data.chunks(grid.group_size()).map(|values| grid.fit(values, &ones)).collect();
    let codes: Vec<u8> =
        w.data.iter().enumerate().map(|(i, &x)| grid.round(params[i / grid.group_size()], x)).collect();
    grid.pack(w.rows, w.cols, &params, &codes).expect("finite values")
}

/// Every kind of matrix that has numbers.
fn matrices() -> Vec<WeightData> {
    let w = values(3, 512);
    let blocks = Encoding::ALL.into_iter().filter(|e| !number_fields(*e).is_empty());
    let blocks = blocks.map(|e| BlockMatrix::quantize(&w, e, None).expect("finite values").into());
    let (bits, group_size, scale_type) = (4, 64, ScaleType::F16);
    let [symmetric, asymmetric] = [true, false]
        .map(|symmetric| grouped(&IntGroups { bits, group_size, symmetric, scale_type, fit: Fit::Search }, &w));
    let biased = grouped(&BiasGroups { bits, group_size, scale_type, fit: Fit::Search }, &w);
    blocks.chain([symmetric, asymmetric, biased]).collect()
}

#[test]
fn values_are_linear_in_the_numbers_and_gradients_are_the_factors() {
    for w in matrices() {
        let name = w.encoding_name();
        let (numbers, plain) = (w.numbers(), w.dequantize());
        assert_eq!(numbers.len(), w.rows() * w.numbers_per_row(), "{name}");
        assert_eq!(w.with_numbers(&numbers).expect("the same").dequantize(), plain, "{name}");
        // The loss sum(g * w) changes by the gradient times the change of the numbers.
        let g = values(w.cols(), w.rows());
        let g = Matrix::new(w.rows(), w.cols(), g.data);
        let changed: Vec<f32> = numbers.iter().enumerate().map(|(i, x)| x * [1.5, 0.5, 2.0, 1.25][i % 4]).collect();
        let other = w.with_numbers(&changed).expect("in range");
        let (changed, moved) = (other.numbers(), other.dequantize());
        let loss = |w: &Matrix| w.data.iter().zip(&g.data).map(|(w, g)| f64::from(*w) * f64::from(*g)).sum::<f64>();
        let predicted: f64 = w
            .number_gradients(&g)
            .iter()
            .zip(changed.iter().zip(&numbers))
            .map(|(d, (new, old))| f64::from(*d) * (f64::from(*new) - f64::from(*old)))
            .sum();
        let found = loss(&moved) - loss(&plain);
        assert!((found - predicted).abs() <= 1e-4 * (1.0 + found.abs()), "{name}: {found} against {predicted}");
        assert!(found.abs() > 1e-3, "{name}: the numbers have no effect");
    }
}

#[test]
fn numbers_beyond_their_type_and_wrong_counts_are_refused() {
    for w in matrices() {
        let mut numbers = w.numbers();
        assert!(matches!(w.with_numbers(&numbers[1..]), Err(BlockError::Length { .. })));
        for bad in [1e30, f32::NAN] {
            numbers[1] = bad;
            assert!(matches!(w.with_numbers(&numbers), Err(BlockError::ScaleOverflow { .. })), "{bad}");
        }
        numbers[1] = 1e-30;
        assert!(w.with_numbers(&numbers).expect("the smallest number").numbers()[1] > 0.0);
    }
    let float = WeightData::from(BlockMatrix::quantize(&values(2, 4), Encoding::F32, None).expect("finite"));
    assert_eq!((float.numbers_per_row(), float.numbers().len()), (0, 0));
}
