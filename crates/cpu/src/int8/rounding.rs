use honelm_blocks::WeightData;
use honelm_tensor::Matrix;

use super::{
    Int8Kind, QuantizedRows,
    activations::{BLOCK, quantize_ordered},
    groups::GroupSource,
    kind::Format,
};
use crate::Isa;

/// The rounding of a weight's inputs by products on [`Compute::Fast`](crate::Compute::Fast), for measurements of its cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rounding {
    order: Option<Vec<u32>>,
}

impl Rounding {
    /// Returns the rounding of the inputs of `weight`; `None` if its products take them in single precision.
    #[must_use]
    pub fn of(weight: &WeightData) -> Option<Self> {
        Format::of(Int8Kind::of(weight), weight.cols())?;
        let order = match weight {
            WeightData::Blocks(_) => None,
            WeightData::Groups(m) => GroupSource::new(m)?.order,
        };
        Some(Self { order })
    }

    /// Rounds `x` `[N, K]`. The blocks hold the columns in the order in which the weight is packed.
    ///
    /// # Panics
    /// Panics if `x` does not have the weight's number of columns.
    #[must_use]
    pub fn quantize(&self, x: &Matrix, isa: Isa) -> QuantizedRows {
        let mut rows = QuantizedRows::new();
        quantize_ordered(&x.data, (x.rows, x.cols), self.order.as_deref(), isa, None, &mut rows);
        rows
    }

    /// Returns the values of rows that [`Rounding::quantize`] rounded, in the order of the columns of `x`. // [N, K]
    #[must_use]
    pub fn values(&self, rows: &QuantizedRows) -> Matrix {
        let mut out = Matrix::zeros(rows.rows(), rows.cols());
        for r in 0..rows.rows() {
            let row = out.row_mut(r);
            for b in 0..rows.cols() / BLOCK {
                let (scale, codes) = rows.block(r, b);
                for (position, code) in (b * BLOCK..).zip(codes) {
                    let column = self.order.as_ref().map_or(position, |order| order[position] as usize);
                    row[column] = scale * f32::from(code);
                }
            }
        }
        out
    }
}
