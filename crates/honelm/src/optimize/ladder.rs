//! Which candidates are tried, smallest first.

use honelm_blocks::Encoding;
use honelm_compress::{Method, Scheme};

use super::Container;
use crate::Error;

/// One candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// What tables call it: `Q5_0`, `int4 g128`.
    pub name: String,
    /// How it is made.
    pub scheme: Scheme,
}

/// The rungs of a container. `bits` takes one rung alone (gguf) or the rungs of that width (gptq), `group_size`
/// one group size (gptq).
pub fn ladder(container: Container, bits: Option<u8>, group_size: Option<usize>) -> Result<Vec<Rung>, Error> {
    match container {
        Container::Gguf => gguf(bits, group_size),
        Container::Gptq => gptq(bits, group_size),
    }
}

fn gguf(bits: Option<u8>, group_size: Option<usize>) -> Result<Vec<Rung>, Error> {
    if group_size.is_some() {
        return Err(Error::Usage("--group-size is for --container gptq; GGUF blocks have fixed sizes".to_owned()));
    }
    use Encoding::{Q4_0, Q5_0, Q5_1, Q6K, Q8_0};
    let encodings = match bits {
        None => vec![Q4_0, Q5_0, Q5_1, Q6K, Q8_0],
        Some(4) => vec![Q4_0],
        Some(5) => vec![Q5_0],
        Some(6) => vec![Q6K],
        Some(8) => vec![Q8_0],
        Some(other) => return Err(Error::Usage(format!("--bits {other}: gguf has 4, 5, 6 and 8"))),
    };
    let rung = |e: Encoding| Rung { name: e.display_name().to_owned(), scheme: Scheme::gguf(e, Method::gptq()) };
    Ok(encodings.into_iter().map(rung).collect())
}

fn gptq(bits: Option<u8>, group_size: Option<usize>) -> Result<Vec<Rung>, Error> {
    if let Some(g) = group_size
        && (g == 0 || g % 32 != 0)
    {
        return Err(Error::Usage(format!("--group-size {g}: expected a multiple of 32")));
    }
    let steps: Vec<(u8, usize)> = match (bits, group_size) {
        (None, None) => vec![(4, 128), (4, 64), (4, 32), (8, 128)],
        (None, Some(g)) => vec![(4, g), (8, g)],
        (Some(4), None) => vec![(4, 128), (4, 64), (4, 32)],
        (Some(8), None) => vec![(8, 128)],
        (Some(b @ (4 | 8)), Some(g)) => vec![(b, g)],
        (Some(other), _) => return Err(Error::Usage(format!("--bits {other}: gptq has 4 and 8"))),
    };
    let rung = |(bits, g): (u8, usize)| Rung {
        name: format!("int{bits} g{g}"),
        scheme: Scheme::gptq(bits, g, false, Method::gptq()),
    };
    Ok(steps.into_iter().map(rung).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(container: Container, bits: Option<u8>, group: Option<usize>) -> Vec<String> {
        ladder(container, bits, group).expect("rungs").into_iter().map(|r| r.name).collect()
    }

    #[test]
    fn defaults_go_from_small_to_large() {
        assert_eq!(names(Container::Gguf, None, None), ["Q4_0", "Q5_0", "Q5_1", "Q6_K", "Q8_0"]);
        assert_eq!(names(Container::Gptq, None, None), ["int4 g128", "int4 g64", "int4 g32", "int8 g128"]);
    }

    #[test]
    fn bits_take_one_rung_and_wrong_ones_are_usage_errors() {
        assert_eq!(names(Container::Gguf, Some(5), None), ["Q5_0"]);
        assert_eq!(names(Container::Gptq, Some(8), Some(64)), ["int8 g64"]);
        for (container, bits, group) in [
            (Container::Gguf, None, Some(64)),
            (Container::Gguf, Some(7), None),
            (Container::Gptq, Some(5), None),
            (Container::Gptq, None, Some(33)),
        ] {
            assert_eq!(ladder(container, bits, group).expect_err("refused").code(), "usage");
        }
    }
}
