//! Options about the encodings of single tensors.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use honelm::optimize::{AllocationOptions, Goal, Strategy};
use honelm::{TensorType, TypeName, TypeRules};

use super::values::size;

/// Options that `optimize` and `quantize` share.
#[derive(Debug, Clone, Args)]
pub struct TypeArguments {
    /// Give every matrix the same encoding, embedding and output layer too
    #[arg(long)]
    pure: bool,

    /// Encoding of the tensors whose name, as in GGUF or in a Hugging Face folder, matches a regular expression, such as
    /// ffn_down=q6_k; can be repeated, the first that matches counts
    #[arg(long, value_name = "REGEX=TYPE", value_parser = TensorType::parse)]
    tensor_type: Vec<TensorType>,

    /// Fail with exit status 5 if a matrix cannot have the encoding that was asked for
    #[arg(long)]
    pub strict: bool,

    /// Print the encoding of every matrix and the size of the file, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl TypeArguments {
    pub fn rules(&self) -> TypeRules {
        TypeRules { pure: self.pure, tensor_types: self.tensor_type.clone() }
    }
}

/// Options of `optimize` about encodings.
#[derive(Debug, Clone, Args)]
pub struct AllocationArguments {
    /// Encodings and mixes to try, such as q3_k_m,q4_k_m,q5_k_m, instead of the usual ones
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = type_name(), ignore_case = true)]
    candidates: Vec<TypeName>,

    /// Choose an encoding for each tensor so that the file has at most this size: bytes, or MB, GB, MiB, GiB
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with_all = ["candidates", "allocate"])]
    target_size: Option<u64>,

    /// Choose an encoding for each tensor: the smallest file whose loss is predicted to be within the budget
    #[arg(long, conflicts_with = "candidates")]
    allocate: bool,

    /// Give queries, keys and values of a layer the same encoding, and gate and up, as runtimes need that fuse them
    #[arg(long)]
    tie_fused: bool,

    /// Search for the best mix by the sensitivities of tensors, or by random exchanges, which is there for comparison
    #[arg(long = "search", value_enum, value_name = "WAY", default_value_t = SearchName::Sensitivities)]
    search: SearchName,

    #[command(flatten)]
    pub types: TypeArguments,
}

/// The search for the best mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SearchName {
    Sensitivities,
    Evolution,
}

impl AllocationArguments {
    /// Returns `true` if the file is to have a certain size. `bits` are those of `--bits`, if they stand for a mix.
    pub fn asks_for_size(&self, bits: Option<f64>) -> bool {
        self.target_size.is_some() || bits.is_some()
    }

    /// Returns the library's options. `bits` are those of `--bits`, if they stand for a mix.
    pub fn options(&self, bits: Option<f64>) -> AllocationOptions {
        let goal = match (self.target_size, bits) {
            (Some(size), _) => Some(Goal::Bytes(size)),
            (None, Some(bits)) => Some(Goal::BitsPerWeight(bits)),
            (None, None) => self.allocate.then_some(Goal::Budget),
        };
        AllocationOptions {
            goal,
            tie_fused: self.tie_fused,
            candidates: self.candidates.clone(),
            strategy: match self.search {
                SearchName::Sensitivities => Strategy::Sensitivities,
                SearchName::Evolution => Strategy::Evolution,
            },
            types: self.types.rules(),
            strict: self.types.strict,
            ..AllocationOptions::default()
        }
    }
}

/// Parses the name of an encoding or a mix, in either case.
pub fn type_name() -> impl TypedValueParser<Value = TypeName> {
    PossibleValuesParser::new(TypeName::names()).try_map(|name| TypeName::from_name(&name).ok_or("unknown type"))
}

/// The value of `--bits`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bits {
    /// The bits per code of an encoding.
    Whole(u8),
    /// The mean bits per weight of a file.
    Mean(f64),
}

/// The widths that name an encoding of GGUF.
const GGUF_WIDTHS: [u8; 4] = [4, 5, 6, 8];
/// The width of the floats that are compared with.
const LARGEST: u8 = 16;

impl Bits {
    /// Returns the width of an encoding, or the mean bits per weight of a mix. Where GGUF is the only container (`gguf`), a
    /// whole number that is no width of its encodings is a mean.
    pub fn split(self, gguf: bool) -> Result<(Option<u8>, Option<f64>), String> {
        match self {
            Self::Whole(LARGEST) => Err(format!("--bits: {LARGEST} is for a list of widths with --compare")),
            Self::Whole(bits) if gguf && !GGUF_WIDTHS.contains(&bits) => Ok((None, Some(bits.into()))),
            Self::Whole(bits) => Ok((Some(bits), None)),
            Self::Mean(bits) => Ok((None, Some(bits))),
        }
    }

    /// Returns a width of a list.
    pub fn whole(self) -> Result<u8, String> {
        match self {
            Self::Whole(bits) => Ok(bits),
            Self::Mean(bits) => Err(format!("--bits: found {bits} in a list, expected whole numbers")),
        }
    }

    /// Parses a whole number of bits, or a fraction.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || "expected a whole number from 2 to 8, or 16, or a number of bits per weight such as 4.25".to_owned();
        match (text.parse::<u8>(), text.parse::<f64>()) {
            (Ok(bits), _) if (2..=8).contains(&bits) || bits == LARGEST => Ok(Self::Whole(bits)),
            (Err(_), Ok(bits)) if (1.0..=32.0).contains(&bits) => Ok(Self::Mean(bits)),
            _ => Err(expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_bits_are_told_from_widths() {
        assert_eq!((Bits::parse("4"), Bits::parse("4.25")), (Ok(Bits::Whole(4)), Ok(Bits::Mean(4.25))));
        for wrong in ["", "9", "1", "0.5", "four", "NaN", "-4", "inf", "33.5"] {
            assert!(Bits::parse(wrong).is_err(), "{wrong}");
        }
    }
}
