use crate::{
    BlockError, BlockMatrix, Encoding, Grid, GroupParams, SuperblockScales, TwoLevel, WeightData,
    base::Overflow,
    grid::check_pack,
    k_quant::{LEN, weights},
    lattice::{Points, signed},
};

/// The values of codes under scale 1 and offset 0.
pub(crate) enum Levels {
    /// Code q stands for `q - zero`.
    Line { zero: u8, high: u8 },
    /// Code q stands for the q-th number, in increasing order.
    Table(&'static [f32; 16]),
    /// Code q stands for level q / 2, negative if q is odd; neighbouring values form a point.
    Lattice(&'static dyn Points),
}

/// The grid of an encoding with blocks of 256 values, whose sub-blocks have integer multiples of the block's scale (and
/// minimum).
pub(crate) struct SuperblockGrid {
    pub encoding: Encoding,
    /// The number of values per sub-block.
    pub sub: usize,
    pub levels: Levels,
    pub two_level: TwoLevel,
    /// Returns the scales of least error of values weighted by the second argument.
    pub search: fn(&[f32; LEN], &[f32; LEN]) -> Result<SuperblockScales, Overflow>,
    /// Packs one block.
    pub pack_block: fn(&SuperblockScales, &[u8; LEN], &mut [u8]),
}

impl SuperblockGrid {
    fn has_minimum(&self) -> bool {
        *self.two_level.minima.end() > 0
    }

    /// Encodes one block with the scales of least error weighted by `w`.
    pub(crate) fn encode(&self, x: &[f32; LEN], w: &[f32; LEN], block: &mut [u8]) -> Result<(), Overflow> {
        let scales = (self.search)(x, w)?;
        let mut codes = [0; LEN];
        for (j, (codes, x)) in codes.chunks_mut(self.sub).zip(x.chunks(self.sub)).enumerate() {
            let p = scales.group(j);
            codes.iter_mut().zip(x).for_each(|(q, &x)| *q = self.round(p, x));
        }
        (self.pack_block)(&scales, &codes, block);
        Ok(())
    }
}

impl Grid for SuperblockGrid {
    fn group_size(&self) -> usize {
        self.sub
    }

    fn superblock(&self) -> usize {
        LEN
    }

    fn two_level(&self) -> Option<&TwoLevel> {
        Some(&self.two_level)
    }

    fn has_plain_fit(&self) -> bool {
        false
    }

    fn unit(&self) -> usize {
        if let Levels::Lattice(points) = self.levels { points.unit() } else { 1 }
    }

    fn round_unit(&self, p: GroupParams, x: &[f32], metric: &[f32], codes: &mut [u8]) {
        match self.levels {
            Levels::Lattice(points) => points.round(p.scale, x, metric, codes),
            _ => codes.iter_mut().zip(x).for_each(|(q, &x)| *q = self.round(p, x)),
        }
    }

    fn codes(&self) -> (u8, u8) {
        match self.levels {
            Levels::Line { high, .. } => (0, high),
            Levels::Table(table) => (0, table.len() as u8 - 1),
            Levels::Lattice(points) => (0, 2 * points.levels().len() as u8 - 1),
        }
    }

    /// Returns the parameters of a superblock whose other groups are 0.
    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams {
        let mut params = [GroupParams { scale: 0.0, offset: 0.0 }; 1];
        self.fit_superblock(values, importance, &mut params);
        params[0]
    }

    fn fit_superblock(&self, values: &[f32], importance: &[f32], params: &mut [GroupParams]) {
        let (mut x, mut given) = ([0.0; LEN], [0.0; LEN]);
        let n = values.len().min(importance.len()).min(LEN);
        x[..n].copy_from_slice(&values[..n]);
        given[..n].copy_from_slice(&importance[..n]);
        let found = (self.search)(&x, &weights(&x, Some(&given), self.sub, |_, _| 1.0));
        for (j, p) in params.iter_mut().enumerate() {
            *p = match &found {
                Ok(scales) => scales.group(j),
                Err(Overflow(scale)) => GroupParams { scale: *scale, offset: f32::INFINITY },
            };
        }
    }

    fn fit_plain(&self, values: &[f32]) -> GroupParams {
        self.fit(values, &[1.0; LEN][..values.len().min(LEN)])
    }

    fn with_scale(&self, p: GroupParams, scale: f32) -> GroupParams {
        GroupParams { scale, offset: p.offset }
    }

    fn round(&self, p: GroupParams, x: f32) -> u8 {
        match self.levels {
            _ if p.scale == 0.0 => self.zero_code(),
            Levels::Line { zero, high } if self.has_minimum() => {
                debug_assert_eq!(zero, 0, "codes of a grid with minima start at 0");
                ((x - p.offset) / p.scale).round().clamp(0.0, f32::from(high)) as u8
            }
            Levels::Line { zero, high } => (x / p.scale + f32::from(zero)).round().clamp(0.0, f32::from(high)) as u8,
            Levels::Table(table) => nearest(table, x / p.scale),
            Levels::Lattice(points) => signed(nearest(points.levels(), (x / p.scale).abs()).into(), x / p.scale),
        }
    }

    fn zero_code(&self) -> u8 {
        match self.levels {
            Levels::Line { zero, .. } => zero,
            Levels::Table(table) => nearest(table, 0.0),
            Levels::Lattice(_) => 0,
        }
    }

    fn value(&self, p: GroupParams, q: u8) -> f32 {
        match self.levels {
            Levels::Line { .. } if self.has_minimum() => p.scale * f32::from(q) + p.offset,
            Levels::Line { zero, .. } => p.scale * (f32::from(q) - f32::from(zero)),
            Levels::Table(table) => p.scale * table[usize::from(q)],
            Levels::Lattice(points) => {
                let value = p.scale * points.levels()[usize::from(q >> 1)];
                if q & 1 == 0 { value } else { -value }
            }
        }
    }

    fn pack(&self, rows: usize, cols: usize, params: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError> {
        let row_bytes = self.encoding.row_bytes(cols)?;
        check_pack(self, rows, cols, params, codes, (self.encoding.display_name(), "F16"))?;
        if let Levels::Lattice(points) = self.levels
            && let Some(i) = codes.chunks(points.unit()).position(|codes| !points.holds(codes))
        {
            let (at, encoding) = (i * points.unit(), self.encoding.display_name());
            return Err(BlockError::Point { row: at / cols, column: at % cols, encoding });
        }
        let mut bytes = vec![0u8; rows.checked_mul(row_bytes).ok_or(BlockError::TooLarge { rows, cols })?];
        let subs = LEN / self.sub;
        let blocks = bytes.chunks_exact_mut(self.encoding.block_bytes());
        let superblocks = params.chunks_exact(subs).zip(codes.as_chunks::<LEN>().0);
        for (i, (block, (params, codes))) in blocks.zip(superblocks).enumerate() {
            let scales = self.two_level.solve(params).ok_or_else(|| BlockError::Inexact {
                what: "scale of a block's first group",
                index: i * subs,
                value: params[0].scale,
                scale_type: self.encoding.display_name(),
            })?;
            (self.pack_block)(&scales, codes, block);
        }
        BlockMatrix::new(self.encoding, rows, cols, bytes.into()).map(WeightData::Blocks)
    }
}

/// Returns the index of the number nearest to `x`.
fn nearest(table: &[f32], x: f32) -> u8 {
    table.windows(2).map(|pair| u8::from(x >= 0.5 * (pair[0] + pair[1]))).sum()
}
