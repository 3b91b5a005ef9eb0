//! The numbers on which the values of a quantised matrix depend linearly while its codes stay: scales, minimums, biases.

use honelm_blocks::{BlockError, BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::{Matrix, f16};

/// Returns the offsets of the half-precision numbers of a block on which its values depend linearly: its scale, and its minimum if it
/// has one. Empty for floats and for blocks whose scales are powers of two or are spread over several fields.
#[must_use]
pub const fn number_fields(encoding: Encoding) -> &'static [usize] {
    use Encoding as E;
    match encoding {
        E::F32 | E::F16 | E::BF16 | E::FP8 | E::NVFP4 | E::MXFP4 | E::IQ1M => &[],
        E::Q4_1 | E::Q5_1 | E::Q4K | E::Q5K => &[0, 2],
        E::Q2K => &[80, 82],
        E::Q3K => &[108],
        E::Q6K => &[208],
        E::TQ1_0 => &[52],
        E::TQ2_0 => &[64],
        E::Q8_0 | E::Q5_0 | E::Q4_0 | E::IQ4NL | E::IQ4XS | E::IQ3S | E::IQ3XXS | E::IQ2S | E::IQ2XS | E::IQ2XXS => {
            &[0]
        }
        E::IQ1S | E::Q2_0 | E::Q1_0 => &[0],
    }
}

/// A quantised matrix as a linear function of its numbers: each value is a sum of numbers times factors that depend on the codes
/// alone.
pub trait Numbers: Sized {
    /// Returns the number of numbers per row; 0 if the matrix has none.
    fn numbers_per_row(&self) -> usize;

    /// Returns the numbers, row after row. A row of blocks has the fields of one block after the other; a row of groups has its
    /// scales, then its biases. Integer zero points are not among them. // [rows, numbers per row]
    fn numbers(&self) -> Vec<f32>;

    /// Returns the matrix with other numbers, each rounded to the type that it is stored in, and the same codes. A number that
    /// is not 0 does not become 0.
    ///
    /// # Errors
    /// [`BlockError::Length`]; [`BlockError::ScaleOverflow`] for a number beyond the range of its type or a NaN.
    fn with_numbers(&self, numbers: &[f32]) -> Result<Self, BlockError>;

    /// Returns the gradient of a loss with respect to the numbers, given its gradient with respect to the values. // [rows, cols] ->
    /// [rows, numbers per row]
    ///
    /// # Panics
    /// Panics if `gradient` has another shape.
    fn number_gradients(&self, gradient: &Matrix) -> Vec<f32>;
}

impl Numbers for WeightData {
    fn numbers_per_row(&self) -> usize {
        match self {
            Self::Blocks(m) => m.cols / m.encoding.block_len() * number_fields(m.encoding).len(),
            Self::Groups(m) => m.groups() * if matches!(m.zeros, Zeros::Bias(_)) { 2 } else { 1 },
        }
    }

    fn numbers(&self) -> Vec<f32> {
        match self {
            Self::Blocks(m) => {
                let fields = number_fields(m.encoding);
                let blocks = m.bytes.chunks_exact(m.encoding.block_bytes());
                blocks.flat_map(|block| fields.iter().map(move |&at| half(block, at))).collect()
            }
            Self::Groups(m) => {
                let groups = m.groups().max(1);
                let biases = match &m.zeros {
                    Zeros::Bias(biases) => biases.as_slice(),
                    Zeros::Constant(_) | Zeros::Integer(_) => &[],
                };
                let row = |r: usize| {
                    let biases = biases.get(r * groups..(r + 1) * groups).unwrap_or_default();
                    m.scales[r * groups..(r + 1) * groups].iter().chain(biases).copied()
                };
                (0..m.scales.len() / groups).flat_map(row).collect()
            }
        }
    }

    fn with_numbers(&self, numbers: &[f32]) -> Result<Self, BlockError> {
        let (found, expected) = (numbers.len(), self.rows() * self.numbers_per_row());
        if found != expected {
            return Err(BlockError::Length { what: "numbers of a matrix", found, expected });
        }
        match self {
            Self::Blocks(m) => blocks_with(m, numbers).map(Self::Blocks),
            Self::Groups(m) => groups_with(m, numbers).map(Self::Groups),
        }
    }

    fn number_gradients(&self, gradient: &Matrix) -> Vec<f32> {
        assert_eq!((gradient.rows, gradient.cols), (self.rows(), self.cols()), "the shape of a gradient");
        let width = self.numbers_per_row();
        let mut out = vec![0.0; self.rows() * width];
        for (r, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
            match self {
                Self::Blocks(m) => block_gradients(m, r, gradient.row(r), out),
                Self::Groups(m) => group_gradients(m, r, gradient.row(r), out),
            }
        }
        out
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Rounds number `i` of a matrix with `width` numbers per row.
fn stored(
    number: f32,
    scale_type: ScaleType,
    i: usize,
    width: usize,
    encoding: &'static str,
) -> Result<f32, BlockError> {
    let rounded = scale_type.round_from_zero(number);
    if rounded.is_finite() {
        return Ok(rounded);
    }
    // The column is counted in numbers: one per block and field.
    let (row, column) = (i / width.max(1), i % width.max(1));
    Err(BlockError::ScaleOverflow { row, column, scale: number, encoding, stored_as: scale_type.name() })
}

fn blocks_with(m: &BlockMatrix, numbers: &[f32]) -> Result<BlockMatrix, BlockError> {
    let fields = number_fields(m.encoding);
    let (mut bytes, name) = (m.bytes.to_vec(), m.encoding.display_name());
    let width = m.cols / m.encoding.block_len() * fields.len();
    let blocks = bytes.chunks_exact_mut(m.encoding.block_bytes());
    for (b, (block, numbers)) in blocks.zip(numbers.chunks_exact(fields.len().max(1))).enumerate() {
        for (f, (&at, &number)) in fields.iter().zip(numbers).enumerate() {
            let rounded = stored(number, ScaleType::F16, b * fields.len() + f, width, name)?;
            block[at..at + 2].copy_from_slice(&f16::from_f32(rounded).to_le_bytes());
        }
    }
    BlockMatrix::new(m.encoding, m.rows, m.cols, bytes.into())
}

fn groups_with(m: &GroupMatrix, numbers: &[f32]) -> Result<GroupMatrix, BlockError> {
    let groups = m.groups();
    let has_bias = matches!(m.zeros, Zeros::Bias(_));
    let width = if has_bias { 2 * groups } else { groups };
    let (mut scales, mut biases) = (Vec::with_capacity(m.scales.len()), Vec::new());
    for (i, &number) in numbers.iter().enumerate() {
        let rounded = stored(number, m.scale_type, i, width, "an integer group")?;
        if i % width < groups { scales.push(rounded) } else { biases.push(rounded) }
    }
    let zeros = if has_bias { Zeros::Bias(biases) } else { m.zeros.clone() };
    GroupMatrix { scales, zeros, ..m.clone() }.validated()
}

/// Decodes each block with one number 1 and the others 0: the derivative of its values by that number.
fn block_gradients(m: &BlockMatrix, r: usize, gradient: &[f32], out: &mut [f32]) {
    let (fields, len) = (number_fields(m.encoding), m.encoding.block_len());
    let mut values = vec![0.0; len];
    let blocks = m.row(r).chunks_exact(m.encoding.block_bytes()).zip(gradient.chunks_exact(len));
    for ((block, gradient), out) in blocks.zip(out.chunks_exact_mut(fields.len().max(1))) {
        let mut part = block.to_vec();
        for (f, out) in out.iter_mut().enumerate() {
            for (other, &at) in fields.iter().enumerate() {
                let number = if other == f { f16::ONE } else { f16::ZERO };
                part[at..at + 2].copy_from_slice(&number.to_le_bytes());
            }
            m.encoding.dequantize_row(&part, &mut values);
            *out = dot(&values, gradient);
        }
    }
}

fn group_gradients(m: &GroupMatrix, r: usize, gradient: &[f32], out: &mut [f32]) {
    let (scales, biases) = out.split_at_mut(m.groups());
    let mut sums = vec![[0.0f64; 2]; scales.len()];
    for (column, (&q, &g)) in m.row_codes(r).iter().zip(gradient).enumerate() {
        let sum = &mut sums[m.group_of(column)];
        sum[0] += f64::from(q) * f64::from(g);
        sum[1] += f64::from(g);
    }
    for (g, (scale, [with_code, plain])) in scales.iter_mut().zip(sums).enumerate() {
        let zero = match &m.zeros {
            Zeros::Constant(z) => f64::from(*z),
            Zeros::Integer(zeros) => f64::from(zeros[r * m.groups() + g]),
            Zeros::Bias(_) => 0.0,
        };
        *scale = (with_code - zero * plain) as f32;
        if let Some(bias) = biases.get_mut(g) {
            *bias = plain as f32;
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}
