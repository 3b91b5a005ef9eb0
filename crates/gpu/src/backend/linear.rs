//! Linear modules and their fused forms.

use honelm_backend::{Activation, Tensor, Weight};

use super::rows::{Map, activation_constant};
use super::{GpuBackend, NONE, stride};
use crate::pack::Layout;
use crate::recording::Bound;
use crate::shaders::{Constant, Variant};

/// The largest number of rows of x for which a separate kernel reads every weight once.
const FEW_ROWS: usize = 4;

/// The largest number of weights that one dispatch applies to the same rows.
const PARTS: usize = 3;

/// An operation on a product.
pub(super) enum After {
    Keep,
    /// Adds the product to this matrix.
    AddTo(Tensor),
    /// Computes f(first) * second of two products.
    Gate(Activation),
}

/// A weight, or a piece of one, and the place of its result.
#[derive(Debug, Clone)]
struct Part {
    layout: Layout,
    chunk: usize,
    rows: usize,
    weight: u32,
    bias: u32,
    order: u32,
    /// The offset of the result, in vectors of four.
    out: u32,
    out_stride: u32,
    residual: u32,
}

impl Part {
    /// Returns `true` if one dispatch can compute both.
    fn goes_with(&self, other: &Self) -> bool {
        (self.layout, self.chunk, self.order) == (other.layout, other.chunk, other.order)
    }

    fn params(&self) -> [u32; 8] {
        [self.rows as u32, self.weight, self.bias, self.out, self.out_stride, self.residual, 0, 0]
    }
}

impl GpuBackend {
    /// Returns each weight times x, after an RMS norm of x if a gain is given. // [N, K], [M, K] -> each [N, M]
    pub(super) fn products(
        &mut self,
        x: &Tensor,
        norm: Option<(&Weight, f32)>,
        ws: &[&Weight],
        after: After,
    ) -> Vec<Tensor> {
        for w in ws {
            assert_eq!(x.cols(), w.cols(), "columns of x and of the weight");
        }
        if let Some((gain, _)) = norm {
            assert!(gain.cols() > 0 && x.cols().is_multiple_of(gain.cols()), "runs of {} in {}", gain.cols(), x.cols());
        }
        let is_few = x.rows() <= FEW_ROWS;
        // A norm of heads cannot be fused with a product of whole rows.
        let (normed, norm) = match norm {
            Some((gain, eps)) if !is_few || gain.cols() != x.cols() => (Some(self.norm(x, gain, eps, false)), None),
            norm => (None, norm),
        };
        let x = normed.as_ref().unwrap_or(x);
        match after {
            After::Gate(f) => {
                if is_few && let Some(out) = self.gated(x, norm, [ws[0], ws[1]], f) {
                    return vec![out];
                }
                let mut both = self.separate(x, norm, ws, None);
                let up = both.swap_remove(1);
                vec![self.map(both.swap_remove(0), Some(&up), Map::Gate(f))]
            }
            After::Keep => self.separate(x, norm, ws, None),
            After::AddTo(residual) => {
                assert_eq!((residual.rows(), residual.cols()), (x.rows(), ws[0].rows()), "the shape of a residual");
                self.separate(x, norm, ws, Some(residual))
            }
        }
    }

    /// Computes each product as a separate matrix, with as few dispatches as the places of the weights allow.
    fn separate(
        &mut self,
        x: &Tensor,
        norm: Option<(&Weight, f32)>,
        ws: &[&Weight],
        residual: Option<Tensor>,
    ) -> Vec<Tensor> {
        let residual_at = residual.as_ref().map_or(NONE, |r| self.at4(r));
        let outs: Vec<Tensor> = match residual {
            Some(residual) => vec![self.target(&residual)],
            None => ws.iter().map(|w| self.tensor(x.rows(), w.rows())).collect(),
        };
        let parts: Vec<Part> =
            ws.iter().zip(&outs).flat_map(|(w, out)| self.parts(w, self.at4(out), residual_at)).collect();
        let mut rest = &parts[..];
        while let Some(first) = rest.first() {
            let together = rest.iter().take(PARTS).take_while(|part| first.goes_with(part)).count();
            self.multiply(x, norm, &rest[..together], None);
            rest = &rest[together..];
        }
        outs
    }

    /// Computes f(gate) * up in one dispatch, if both weights are in one buffer.
    fn gated(&mut self, x: &Tensor, norm: Option<(&Weight, f32)>, ws: [&Weight; 2], f: Activation) -> Option<Tensor> {
        assert_eq!(ws[0].rows(), ws[1].rows(), "rows of gate and up");
        let [gate, up] = ws.map(|w| self.parts(w, 0, NONE));
        let ([gate], [up]) = (&gate[..], &up[..]) else { return None };
        if !gate.goes_with(up) {
            return None;
        }
        let out = self.tensor(x.rows(), ws[0].rows());
        let gate = Part { out: self.at4(&out), ..gate.clone() };
        self.multiply(x, norm, &[gate, up.clone()], Some(f));
        Some(out)
    }

    /// Returns the pieces of a weight; its result starts at `out`.
    fn parts(&self, w: &Weight, out: u32, residual: u32) -> Vec<Part> {
        let matrix = self.matrix(w);
        let part = |piece: &crate::weights::Piece| {
            let first = piece.first_row as u32;
            Part {
                layout: matrix.layout,
                chunk: piece.chunk,
                rows: piece.rows,
                weight: piece.range.start,
                bias: matrix.bias.map_or(NONE, |range| range.start + first),
                order: matrix.order.map_or(NONE, |range| range.start),
                out: out + first / 4,
                out_stride: stride(w.rows()) as u32 / 4,
                residual: if residual == NONE { NONE } else { residual + first / 4 },
            }
        };
        matrix.pieces.iter().map(part).collect()
    }

    /// Returns the number of threads that share a row in the kernel for few rows. Each takes some runs of eight columns; more on a
    /// software adapter, where threads are expensive.
    fn team(&self, cols: usize) -> usize {
        let (each, most) = if self.gpu.wide_teams() { (4, 256) } else { (8, 8) };
        cols.div_ceil(8 * each).next_power_of_two().min(most)
    }

    /// Records one dispatch for parts that go together.
    fn multiply(&mut self, x: &Tensor, norm: Option<(&Weight, f32)>, parts: &[Part], gated: Option<Activation>) {
        let (rows, cols) = (x.rows(), x.cols());
        let first = &parts[0];
        let gain = norm.map_or(NONE, |(gain, _)| self.vector(gain).range.start);
        let team = self.team(cols);
        let mut params = vec![
            rows as u32,
            cols as u32,
            self.at4(x),
            stride(cols) as u32 / 4,
            first.layout.row_words(cols) as u32,
            parts.len() as u32,
            first.order,
            gain,
            norm.map_or(0.0, |(_, eps)| eps).to_bits(),
            team as u32,
            0,
            0,
        ];
        params.extend(parts.iter().flat_map(Part::params));
        let ordered = ("ORDERED", Constant::Bool(first.order != NONE));
        let (variant, groups) = if rows <= FEW_ROWS {
            let span = 256 / team * 4;
            let mut constants = vec![
                ("ROWS", Constant::U32(rows.next_power_of_two() as u32)),
                ("NORM", Constant::Bool(norm.is_some())),
                ("GATED", Constant::Bool(gated.is_some())),
                ordered,
                activation_constant(gated.unwrap_or(Activation::Relu)),
            ];
            if self.gpu.variants().subgroups {
                let least = self.gpu.report().subgroups.map_or(1, |(least, _)| least as usize);
                constants.push(("WITHIN", Constant::Bool(team <= least)));
            }
            let counted = if gated.is_some() { &parts[..1] } else { parts };
            let groups = counted.iter().map(|part| part.rows.div_ceil(span)).sum();
            (Variant { op: "linear_rows", constants, format: Some(first.layout) }, groups)
        } else {
            // A software adapter takes seconds to build the deepest kernel.
            let deepest = if self.gpu.wide_teams() { 4 } else { 2 };
            let depth = if rows > 32 { deepest } else { rows.div_ceil(16) };
            let constants = vec![("DEPTH", Constant::U32(depth as u32)), ordered];
            let tiles: usize = parts.iter().map(|part| part.rows.div_ceil(64)).sum();
            let groups = tiles * rows.div_ceil(16 * depth);
            (Variant { op: "linear_tile", constants, format: Some(first.layout) }, groups)
        };
        if rows > 0 {
            self.dispatch(variant, Bound::Weight(first.chunk), &params, groups);
        }
    }
}
