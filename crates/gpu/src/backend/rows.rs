//! Operations on single values, heads or rows.

use honelm_backend::{Activation, BackendError, Rope, Tensor, Weight};

use super::{GpuBackend, NONE, stride, variant};
use crate::recording::Bound;
use crate::shaders::{Constant, Variant};

/// The number of threads per workgroup of most kernels.
pub(super) const THREADS: usize = 256;

/// An element-wise operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Map {
    Add,
    Gate(Activation),
    Activate(Activation),
    Scale(f32),
    Softcap(f32),
}

/// Returns the number of an activation in the shaders.
pub(super) fn activation_constant(f: Activation) -> (&'static str, Constant) {
    let number = match f {
        Activation::Relu => 0,
        Activation::Silu => 1,
        Activation::Gelu => 2,
        Activation::GeluTanh => 3,
    };
    ("ACTIVATION", Constant::U32(number))
}

impl GpuBackend {
    /// Returns `x` itself if its handle is not shared, otherwise a new matrix of the same shape.
    pub(super) fn target(&mut self, x: &Tensor) -> Tensor {
        if x.is_unique() { x.clone() } else { self.tensor(x.rows(), x.cols()) }
    }

    pub(super) fn map(&mut self, x: Tensor, y: Option<&Tensor>, map: Map) -> Tensor {
        if let Some(y) = y {
            assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "shapes of a sum or a gate");
        }
        let (op, f, factor) = match map {
            Map::Add => (0, Activation::Relu, 0.0),
            Map::Gate(f) => (1, f, 0.0),
            Map::Activate(f) => (2, f, 0.0),
            Map::Scale(factor) => (3, Activation::Relu, factor),
            Map::Softcap(cap) => (4, Activation::Relu, cap),
        };
        let out = self.target(&x);
        let count = x.rows() * stride(x.cols()) / 4;
        let y = y.map_or(0, |y| self.at4(y));
        let params = [count as u32, self.at4(&x), y, self.at4(&out), factor.to_bits()];
        let variant = variant("map", [("OP", Constant::U32(op)), activation_constant(f)]);
        self.dispatch(variant, Bound::Nothing, &params, count.div_ceil(THREADS));
        out
    }

    /// Copies rows and columns of a matrix, or of the step's numbers.
    pub(super) fn copied(
        &mut self,
        from_host: bool,
        [rows, cols]: [usize; 2],
        source: u32,
        source_stride: usize,
        list: u32,
    ) -> Tensor {
        let out = self.tensor(rows, cols);
        let params = [rows as u32, cols as u32, source, source_stride as u32, self.at(&out), stride(cols) as u32, list];
        let variant = variant("copy", [("FROM_HOST", Constant::Bool(from_host))]);
        self.dispatch(variant, Bound::Nothing, &params, (rows * cols).div_ceil(THREADS));
        out
    }

    pub(super) fn norm(&mut self, x: &Tensor, gain: &Weight, eps: f32, centred: bool) -> Tensor {
        let width = gain.cols();
        assert!(width > 0 && x.cols().is_multiple_of(width), "runs of {width} in {}", x.cols());
        let out = self.tensor(x.rows(), x.cols());
        let per_row = x.cols() / width;
        let runs = x.rows() * per_row;
        let vector = self.vector(gain);
        let bias = vector.bias.filter(|_| centred).map_or(NONE, |range| range.start);
        let params = [
            runs as u32,
            width as u32,
            per_row as u32,
            stride(x.cols()) as u32,
            self.at(x),
            self.at(&out),
            vector.range.start,
            bias,
            eps.to_bits(),
        ];
        let threads = if width > 512 { 256 } else { 64 };
        let variant = variant("norm", [("THREADS", Constant::U32(threads)), ("CENTRED", Constant::Bool(centred))]);
        self.dispatch(variant, Bound::Nothing, &params, runs);
        out
    }

    pub(super) fn embed_tokens(&mut self, table: &Weight) -> Tensor {
        let vocabulary = table.rows();
        self.vocabulary = Some(vocabulary);
        let frame = &self.recording.frame;
        let (tokens, rows) = (frame.tokens, frame.rows);
        if let Some(&token) = frame.known.iter().find(|&&token| token as usize >= vocabulary) {
            self.recording.fail(BackendError::UnknownToken { token, vocabulary });
        }
        self.look_up(table, tokens, rows)
    }

    /// Copies rows of a table; their indices start at `ids` among the step's numbers.
    pub(super) fn look_up(&mut self, table: &Weight, ids: u32, rows: usize) -> Tensor {
        let cols = table.cols();
        let out = self.tensor(rows, cols);
        let matrix = self.matrix(table);
        let (layout, pieces) = (matrix.layout, matrix.pieces.clone());
        let order = matrix.order.map_or(NONE, |range| range.start);
        for piece in pieces {
            let params = [
                rows as u32,
                cols as u32,
                ids,
                piece.first_row as u32,
                piece.rows as u32,
                layout.row_words(cols) as u32,
                piece.range.start,
                order,
                self.at(&out),
                stride(cols) as u32,
            ];
            let variant = Variant { op: "embed", constants: Vec::new(), format: Some(layout) };
            let groups = (rows * cols.div_ceil(8)).div_ceil(THREADS);
            self.dispatch(variant, Bound::Weight(piece.chunk), &params, groups);
        }
        out
    }

    /// Returns the position of the rotations of the step's rows: cosines, then sines, for each row.
    pub(super) fn rotations(&mut self, rope: &Rope) -> u32 {
        let key = (rope.inverse_frequencies.index(), rope.magnitude.to_bits());
        if let Some((_, at)) = self.recording.frame.rotations.iter().find(|(k, _)| *k == key) {
            return *at;
        }
        let frequencies = &self.vector(&rope.inverse_frequencies).values;
        let mut table = Vec::with_capacity(self.recording.frame.positions.len() * 2 * frequencies.len());
        for position in &self.recording.frame.positions {
            // The angle is rounded to f32, as in transformers.
            let angles = frequencies.iter().map(|frequency| *position as f32 * frequency);
            table.extend(angles.clone().map(|angle| (angle.cos() * rope.magnitude).to_bits()));
            table.extend(angles.map(|angle| (angle.sin() * rope.magnitude).to_bits()));
        }
        let at = self.recording.append(table);
        self.recording.frame.rotations.push((key, at));
        at
    }

    pub(super) fn rotate(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        let (width, pairs) = (rope.head_width, rope.inverse_frequencies.cols());
        assert!(2 * pairs <= width && x.cols().is_multiple_of(width), "heads of {width} in {}", x.cols());
        assert_eq!(x.rows(), self.recording.frame.rows, "rows of the step");
        let table = self.rotations(rope);
        let out = self.target(&x);
        let heads = x.cols() / width;
        let params = [
            x.rows() as u32,
            heads as u32,
            width as u32,
            pairs as u32,
            stride(x.cols()) as u32,
            self.at(&x),
            self.at(&out),
            table,
        ];
        let units = x.rows() * heads * (width - pairs);
        self.dispatch(variant("rope", []), Bound::Nothing, &params, units.div_ceil(THREADS));
        out
    }
}
