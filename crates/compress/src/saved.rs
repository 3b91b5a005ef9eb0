//! Changed parameters as journal entries.

use bytes::Bytes;
use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_model::Parameter;
use honelm_tensor::AlignedVec;
use serde::{Deserialize, Serialize};

use crate::{Change, CompressError};

/// The description of a parameter, before the bytes of all parameters.
#[derive(Serialize, Deserialize)]
struct Head {
    name: String,
    rows: usize,
    cols: usize,
    kind: HeadKind,
    bias: bool,
    /// The lengths of the byte runs: those of the weight, then that of the bias.
    runs: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
enum HeadKind {
    Block { encoding: String },
    Groups { bits: u8, group_size: usize, scale_type: String, zeros: HeadZeros, ordered: bool },
}

#[derive(Serialize, Deserialize)]
enum HeadZeros {
    Constant(u8),
    Integer,
    Bias,
}

/// Packs changed parameters: a length, a JSON list of heads, then all bytes.
pub(crate) fn pack(changes: &[Change]) -> Vec<u8> {
    let mut heads = Vec::new();
    let mut payload = Vec::new();
    for Change { module, parameter: Parameter { weight, bias } } in changes {
        let (kind, mut runs) = describe(weight);
        runs.extend(bias.as_deref().map(bytes_of));
        let lengths = runs.iter().map(Vec::len).collect();
        let (name, bias) = ((*module).to_owned(), bias.is_some());
        heads.push(Head { name, rows: weight.rows(), cols: weight.cols(), kind, bias, runs: lengths });
        runs.iter().for_each(|run| payload.extend_from_slice(run));
    }
    let json = serde_json::to_vec(&heads).unwrap_or_default();
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(&json);
    out.extend_from_slice(&payload);
    out
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect()
}

fn describe(weight: &WeightData) -> (HeadKind, Vec<Vec<u8>>) {
    match weight {
        WeightData::Blocks(m) => (HeadKind::Block { encoding: m.encoding.name().to_owned() }, vec![m.bytes.to_vec()]),
        WeightData::Groups(m) => {
            let (zeros, zero_bytes) = match &m.zeros {
                Zeros::Constant(z) => (HeadZeros::Constant(*z), Vec::new()),
                Zeros::Integer(z) => (HeadZeros::Integer, z.clone()),
                Zeros::Bias(z) => (HeadZeros::Bias, bytes_of(z)),
            };
            let order = m.order.iter().flatten().flat_map(|c| c.to_le_bytes()).collect();
            let kind = HeadKind::Groups {
                bits: m.bits,
                group_size: m.group_size,
                scale_type: m.scale_type.name().to_owned(),
                zeros,
                ordered: m.order.is_some(),
            };
            (kind, vec![m.codes.to_vec(), bytes_of(&m.scales), zero_bytes, order])
        }
    }
}

/// Reads the output of [`pack`]. `modules` are the names that it may have; errors name the `entry`.
pub(crate) fn unpack(entry: &str, bytes: Vec<u8>, modules: &[&'static str]) -> Result<Vec<Change>, CompressError> {
    let bad = |problem: String| CompressError::Journal { entry: entry.to_owned(), problem };
    let bytes = Bytes::from(bytes);
    let length = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b) as usize);
    let json = length.and_then(|n| bytes.get(8..8usize.checked_add(n)?)).ok_or_else(|| bad("cut short".to_owned()))?;
    let heads: Vec<Head> = serde_json::from_slice(json).map_err(|e| bad(e.to_string()))?;
    let mut at = 8 + json.len();
    let mut take = |n: usize| {
        let end = at.checked_add(n).filter(|&end| end <= bytes.len())?;
        let run = bytes.slice(at..end);
        at = end;
        Some(run)
    };
    let mut out = Vec::with_capacity(heads.len());
    for head in heads {
        let runs: Option<Vec<Bytes>> = head.runs.iter().map(|&n| take(n)).collect();
        let mut runs = runs.ok_or_else(|| bad(format!("'{}' is cut short", head.name)))?;
        let module = modules.iter().find(|&&module| module == head.name);
        let module = *module.ok_or_else(|| bad(format!("'{}' is no module of the layer", head.name)))?;
        let bias = if head.bias { runs.pop().map(|run| floats_of(&run)) } else { None };
        let weight = rebuild(&head, &runs).map_err(|problem| bad(format!("'{}': {problem}", head.name)))?;
        out.push(Change { module, parameter: Parameter { weight, bias } });
    }
    Ok(out)
}

fn rebuild(head: &Head, runs: &[Bytes]) -> Result<WeightData, String> {
    let text = |e: honelm_blocks::BlockError| e.to_string();
    match (&head.kind, runs) {
        (HeadKind::Block { encoding }, [bytes]) => {
            let encoding = Encoding::from_name(encoding).ok_or_else(|| format!("unknown encoding {encoding}"))?;
            Ok(BlockMatrix::new(encoding, head.rows, head.cols, bytes.clone()).map_err(text)?.into())
        }
        (HeadKind::Groups { bits, group_size, scale_type, zeros, ordered }, [codes, scales, zero_bytes, order]) => {
            let zeros = match zeros {
                HeadZeros::Constant(z) => Zeros::Constant(*z),
                HeadZeros::Integer => Zeros::Integer(zero_bytes.to_vec()),
                HeadZeros::Bias => Zeros::Bias(floats_of(zero_bytes)),
            };
            let order = ordered.then(|| order.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c)).collect());
            let known = [ScaleType::F16, ScaleType::BF16, ScaleType::F32].into_iter().find(|t| t.name() == scale_type);
            let scale_type = known.ok_or_else(|| format!("unknown scale type {scale_type}"))?;
            let matrix = GroupMatrix {
                rows: head.rows,
                cols: head.cols,
                bits: *bits,
                group_size: *group_size,
                scale_type,
                codes: AlignedVec::from_slice(codes),
                scales: floats_of(scales),
                zeros,
                order,
            };
            Ok(matrix.validated().map_err(text)?.into())
        }
        _ => Err("unexpected number of parts".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use honelm_blocks::{Fit, IntGroups};
    use honelm_tensor::Matrix;

    const MODULES: [&str; 2] = ["blocks", "groups"];

    fn changes() -> Vec<Change> {
        let w = Matrix::new(3, 64, (0..192).map(|i| ((i * 37) % 97) as f32 / 40.0 - 1.2).collect());
        let blocks = BlockMatrix::quantize(&w, Encoding::Q5_0, None).expect("rows of whole blocks");
        let grid =
            IntGroups { bits: 4, group_size: 32, symmetric: false, scale_type: ScaleType::F16, fit: Fit::Search };
        let groups = crate::rounding::round_to(&w, None, &grid, 1).pack(&grid).expect("finite weights");
        let biases = [None, Some(vec![0.5, -1.0, 3.0])];
        let parts = MODULES.into_iter().zip([blocks.into(), groups]).zip(biases);
        parts.map(|((module, weight), bias)| Change { module, parameter: Parameter { weight, bias } }).collect()
    }

    #[test]
    fn parameters_come_back_bit_for_bit() {
        let original = changes();
        let back = unpack("entry", pack(&original), &MODULES).expect("intact");
        for (a, b) in original.iter().zip(&back) {
            assert_eq!(a.module, b.module);
            assert_eq!(a.parameter.weight.encoding_name(), b.parameter.weight.encoding_name());
            assert_eq!(a.parameter.weight.dequantize(), b.parameter.weight.dequantize());
            assert_eq!(a.parameter.bias, b.parameter.bias);
        }
        assert_eq!(pack(&back), pack(&original));
        let error = unpack("entry", pack(&original), &MODULES[..1]).expect_err("a module of another layer");
        assert!(error.to_string().contains("'groups' is no module"), "{error}");
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = pack(&changes());
        for cut in 0..whole.len() {
            assert!(unpack("entry", whole[..cut].to_vec(), &MODULES).is_err(), "cut at {cut}");
        }
    }
}
