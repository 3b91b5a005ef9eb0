use crate::{BlockError, TwoLevel, WeightData};

/// The parameters of one group of one row. A code `q` stands for `scale * q + offset`.
///
/// Both numbers are already rounded to the type that they are stored in, so that a sweep sees exactly the values
/// that a reader computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupParams {
    /// The step between neighbouring codes. It may be negative, and is 0 for a group of zeros.
    pub scale: f32,
    /// The value of code 0.
    pub offset: f32,
}

impl GroupParams {
    /// Returns `false` if the values need a scale or minimum that the storage type cannot hold.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.scale.is_finite() && self.offset.is_finite()
    }
}

/// A quantisation grid for an error-feeding sweep (GPTQ), which rounds one value at a time.
///
/// The sweep fixes the parameters of a group with [`Grid::fit`], rounds each value with [`Grid::round`], and passes
/// all parameters and codes of a matrix to [`Grid::pack`].
///
/// Values must be finite. If the values of a group are too large for the scale's type, the parameters are not
/// finite and [`Grid::pack`] returns an error.
pub trait Grid: Sync {
    /// Returns the number of columns that share parameters; `0` means the whole row.
    fn group_size(&self) -> usize;

    /// Returns the number of columns whose parameters are chosen together, a multiple of the group size.
    fn superblock(&self) -> usize {
        self.group_size()
    }

    /// Returns the number of neighbouring columns whose codes depend on each other, a divisor of the group size.
    fn unit(&self) -> usize {
        1
    }

    /// Chooses the codes of one unit: those with the values q of least (x - q) A (x - q)^T. // x, codes `[unit]`, metric A
    /// [unit, unit]
    fn round_unit(&self, p: GroupParams, x: &[f32], metric: &[f32], codes: &mut [u8]) {
        let _ = metric;
        codes.iter_mut().zip(x).for_each(|(q, &x)| *q = self.round(p, x));
    }

    /// Returns the integers from which the parameters of a superblock follow; `None` if every group has its own.
    fn two_level(&self) -> Option<&TwoLevel> {
        None
    }

    /// Returns `false` if parameters are always searched, so that [`Grid::fit_plain`] is no more than a start and the
    /// encoder rounds to nearest.
    fn has_plain_fit(&self) -> bool {
        true
    }

    /// Returns the smallest and the largest usable code.
    fn codes(&self) -> (u8, u8);

    /// Returns storable parameters for `values` `[g]` that minimise the squared error weighted by `importance` `[g]`
    /// (all ones for plain rounding, diag(H) for GPTQ), by the method that the grid is set to.
    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams;

    /// Chooses the parameters of all groups of a superblock. // values, importance `[superblock]`, params `[superblock / g]`
    fn fit_superblock(&self, values: &[f32], importance: &[f32], params: &mut [GroupParams]) {
        let size = if self.group_size() == 0 { values.len().max(1) } else { self.group_size() };
        for ((p, values), importance) in params.iter_mut().zip(values.chunks(size)).zip(importance.chunks(size)) {
            *p = self.fit(values, importance);
        }
    }

    /// Returns storable parameters from the smallest and the largest of `values` `[g]` alone, as the reference
    /// implementation of the format does.
    fn fit_plain(&self, values: &[f32]) -> GroupParams;

    /// Returns storable parameters with another scale. The zero point or the minimum stays. Where the groups of a superblock
    /// depend on each other, the scale is taken as it is.
    fn with_scale(&self, p: GroupParams, scale: f32) -> GroupParams;

    /// Returns the parameters with the next smaller and the next larger scale, if there are so few scales that a solved one
    /// is seldom near to any.
    fn neighbours(&self, p: GroupParams) -> Option<[GroupParams; 2]> {
        let _ = p;
        None
    }

    /// Returns storable parameters with another offset and the same scale; `None` where the offset follows from the scale.
    fn with_offset(&self, _p: GroupParams, _offset: f32) -> Option<GroupParams> {
        None
    }

    /// Returns the code nearest to `x`, as if the codes of a unit did not depend on each other.
    fn round(&self, p: GroupParams, x: f32) -> u8 {
        let (low, high) = self.codes();
        if p.scale == 0.0 {
            // Every code decodes to `offset`. The code of zero keeps packed zeros canonical.
            return self.zero_code();
        }
        // Codes are not negative, so adding a half and truncating rounds to nearest.
        (((x - p.offset) / p.scale).clamp(f32::from(low), f32::from(high)) + 0.5) as u8
    }

    /// Returns the code that fills a group of zeros.
    fn zero_code(&self) -> u8;

    /// Returns the value that a reader computes for code `q`, bit for bit.
    fn value(&self, p: GroupParams, q: u8) -> f32 {
        p.scale * f32::from(q) + p.offset
    }

    /// Packs a whole matrix.
    ///
    /// `params` is `[rows, ceil(cols / g)]` and `codes` is `[rows, cols]`, both row-major.
    ///
    /// # Errors
    /// Returns an error if lengths do not agree, columns are not whole blocks, codes are out of range or parameters
    /// are not finite.
    fn pack(&self, rows: usize, cols: usize, params: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError>;
}

/// Checks the arguments of [`Grid::pack`]. // params [rows, groups], codes [rows, cols]
pub(crate) fn check_pack(
    grid: &dyn Grid,
    rows: usize,
    cols: usize,
    params: &[GroupParams],
    codes: &[u8],
    names: (&'static str, &'static str),
) -> Result<(), BlockError> {
    let too_large = BlockError::TooLarge { rows, cols };
    let group_size = if grid.group_size() == 0 { cols.max(1) } else { grid.group_size() };
    let groups = cols.div_ceil(group_size);
    let expected = rows.checked_mul(cols).ok_or(too_large)?;
    if codes.len() != expected {
        return Err(BlockError::Length { what: "codes of a matrix", found: codes.len(), expected });
    }
    if params.len() != rows * groups {
        let what = "group parameters of a matrix";
        return Err(BlockError::Length { what, found: params.len(), expected: rows * groups });
    }
    if let Some(i) = params.iter().position(|p| !p.is_finite()) {
        let (row, column) = (i / groups, i % groups * group_size);
        let (encoding, stored_as) = names;
        return Err(BlockError::ScaleOverflow { row, column, scale: params[i].scale, encoding, stored_as });
    }
    let (low, high) = grid.codes();
    if let Some(i) = codes.iter().position(|q| !(low..=high).contains(q)) {
        let bits = u8::BITS as u8 - high.leading_zeros() as u8;
        return Err(BlockError::Code { row: i / cols, column: i % cols, found: codes[i], bits });
    }
    Ok(())
}
