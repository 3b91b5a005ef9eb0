use std::fmt;

use crate::{BlockError, Grid, codec::Codec};

/// Defines [`Encoding`] from a table with one line per encoding: the variant, and the codec in its file.
macro_rules! encodings {
    ($($variant:ident = $codec:path),+ $(,)?) => {
        /// A row-wise weight encoding, named as in ggml. FP8 is HoneLM's own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names are ggml's own")]
        pub enum Encoding {
            $($variant),+
        }

        impl Encoding {
            /// Every encoding.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            const fn codec(self) -> &'static Codec {
                match self {
                    $(Self::$variant => &$codec),+
                }
            }
        }
    };
}

encodings! {
    F32 = crate::f32::CODEC,
    F16 = crate::f16::CODEC,
    BF16 = crate::bf16::CODEC,
    FP8 = crate::fp8::CODEC,
    Q8_0 = crate::q8_0::CODEC,
    Q6K = crate::q6_k::CODEC,
    Q5_1 = crate::q5_1::CODEC,
    Q5_0 = crate::q5_0::CODEC,
    Q5K = crate::q5_k::CODEC,
    Q4_1 = crate::q4_1::CODEC,
    Q4_0 = crate::q4_0::CODEC,
    Q4K = crate::q4_k::CODEC,
    IQ4NL = crate::iq4_nl::CODEC,
    IQ4XS = crate::iq4_xs::CODEC,
    NVFP4 = crate::nvfp4::CODEC,
    MXFP4 = crate::mxfp4::CODEC,
    Q3K = crate::q3_k::CODEC,
    IQ3S = crate::iq3_s::CODEC,
    IQ3XXS = crate::iq3_xxs::CODEC,
    Q2K = crate::q2_k::CODEC,
    IQ2S = crate::iq2_s::CODEC,
    IQ2XS = crate::iq2_xs::CODEC,
    IQ2XXS = crate::iq2_xxs::CODEC,
    Q2_0 = crate::q2_0::CODEC,
    TQ2_0 = crate::tq2_0::CODEC,
    IQ1M = crate::iq1_m::CODEC,
    TQ1_0 = crate::tq1_0::CODEC,
    IQ1S = crate::iq1_s::CODEC,
    Q1_0 = crate::q1_0::CODEC,
}

impl Encoding {
    /// Returns the encoding with this name, in any case (`q4_k`, `Q4_K`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.name().eq_ignore_ascii_case(name))
    }

    /// Returns the encoding with this ggml type number.
    #[must_use]
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.ggml_id() == Some(id))
    }

    /// Returns the lower-case name, as on llama.cpp's command line: `q4_k`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.codec().name
    }

    /// Returns the name for display: `Q4_K`.
    #[must_use]
    pub const fn display_name(self) -> &'static str {
        self.codec().display_name
    }

    /// Returns the type number in GGUF files (`enum ggml_type`), or `None` if ggml has no such type.
    #[must_use]
    pub const fn ggml_id(self) -> Option<u32> {
        match &self.codec().ggml {
            Some(ggml) => Some(ggml.id),
            None => None,
        }
    }

    /// Returns the `general.file_type` of a GGUF file that is mostly in this encoding (`enum llama_ftype`), or `None`
    /// if ggml has no such type.
    #[must_use]
    pub const fn file_type(self) -> Option<u32> {
        match &self.codec().ggml {
            Some(ggml) => Some(ggml.file_type),
            None => None,
        }
    }

    /// Returns the encoding for rows of `cols` values: this one or, if the rows are not whole blocks, the one that
    /// llama.cpp uses instead, in the end F16.
    #[must_use]
    pub fn for_columns(self, cols: usize) -> Self {
        if cols.is_multiple_of(self.block_len()) {
            return self;
        }
        self.codec().smaller_blocks.map_or(Self::F16, |smaller| smaller.for_columns(cols))
    }

    /// Returns the number of values per block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        self.codec().block_len
    }

    /// Returns the number of bytes per block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        self.codec().block_bytes
    }

    /// Returns the number of bits per weight, scales included.
    #[must_use]
    pub fn bits_per_weight(self) -> f64 {
        (self.block_bytes() * 8) as f64 / self.block_len() as f64
    }

    /// Returns `true` for F32, F16 and BF16, which store every value by itself.
    #[must_use]
    pub const fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Returns the number of bytes of a row of `cols` values.
    ///
    /// # Errors
    /// [`BlockError::PartialBlock`] if `cols` is not a multiple of the block length; [`BlockError::TooLarge`] if the
    /// size overflows.
    pub fn row_bytes(self, cols: usize) -> Result<usize, BlockError> {
        let block_len = self.block_len();
        if !cols.is_multiple_of(block_len) {
            return Err(BlockError::PartialBlock { encoding: self.display_name(), cols, block_len });
        }
        (cols / block_len).checked_mul(self.block_bytes()).ok_or(BlockError::TooLarge { rows: 1, cols })
    }

    /// Returns the grid for error-feeding quantisers, or `None` for floats and for encodings that are only made by search.
    #[must_use]
    pub const fn grid(self) -> Option<&'static dyn Grid> {
        self.codec().grid
    }

    /// Decodes whole blocks. Faster implementations must agree with this one.
    ///
    /// # Panics
    /// Panics if the lengths of `bytes` and `out` do not agree.
    pub fn dequantize_row(self, bytes: &[u8], out: &mut [f32]) {
        let expected = self.row_bytes(out.len());
        assert_eq!(Ok(bytes.len()), expected, "bytes of a row of {} {self} values", out.len());
        (self.codec().decode)(bytes, out);
    }

    /// Encodes whole blocks.
    ///
    /// Without `importance`, Q4_0 to Q8_0 round byte for byte as ggml's reference does. The parameters of the other
    /// encodings are searched, for most with the customary weights (larger values count more). With `importance` (one
    /// weight per column, >= 0), scales and minima are searched for the least squared error weighted by it; below
    /// three bits per weight, little else is usable. Floats ignore it.
    ///
    /// # Errors
    /// Returns an error if lengths do not agree, if values or importances are not finite, or if a block needs a scale
    /// beyond half precision. The contents of `out` are then unspecified.
    pub fn quantize_row(self, x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
        let expected = self.row_bytes(x.len())?;
        if out.len() != expected {
            return Err(BlockError::Length { what: "bytes of an encoded row", found: out.len(), expected });
        }
        if let Some((column, &value)) = x.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(BlockError::NotFinite { row: 0, column, value });
        }
        if let Some(importance) = importance {
            check_importance(importance, x.len())?;
        }
        (self.codec().encode)(x, importance, out)
    }

    /// Returns the column of the first value (or block) of an encoded row that does not decode to finite numbers.
    pub(crate) fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        (self.codec().first_not_finite)(bytes)
    }
}

fn check_importance(importance: &[f32], cols: usize) -> Result<(), BlockError> {
    if importance.len() != cols {
        return Err(BlockError::Length { what: "importances of a row", found: importance.len(), expected: cols });
    }
    match importance.iter().enumerate().find(|(_, v)| !(v.is_finite() && **v >= 0.0)) {
        Some((column, &value)) => Err(BlockError::Importance { column, value }),
        None => Ok(()),
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.display_name())
    }
}
