use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use honelm_blocks::Encoding;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{HEADER_LIMIT, METADATA_KEY};
use crate::json::Pairs;
use crate::{ElementType, FileData, FormatError, IntegerType, TensorInfo};

/// A parsed file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) metadata: Vec<(String, String)>,
    /// The tensors and their byte ranges in the order of the header.
    pub(super) tensors: Vec<(TensorInfo, Range<u64>)>,
    pub(super) data: FileData,
}

/// The metadata and the tensors of a header.
type Contents = (Vec<(String, String)>, Vec<(TensorInfo, Range<u64>)>);

/// A tensor's entry in the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header in the order of the text. Repeated keys are kept, so that they can be rejected by name.
struct Header {
    metadata: Vec<Vec<(String, String)>>,
    tensors: Vec<(String, Entry)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: Vec::new(), tensors: Vec::new() };
                while let Some(key) = map.next_key::<String>()? {
                    let named = |error| A::Error::custom(format!("{}: {error}", crate::error::shown(&key)));
                    if key == METADATA_KEY {
                        let pairs: Option<Pairs<String>> = map.next_value().map_err(named)?;
                        header.metadata.push(pairs.map_or_else(Vec::new, |pairs| pairs.0));
                    } else {
                        let entry = map.next_value().map_err(named)?;
                        header.tensors.push((key, entry));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

impl File {
    pub(super) fn parse(data: FileData, name: String) -> Result<Self, FormatError> {
        let (metadata, tensors) = data.parse_head(&name, |head| Self::parse_head(head, data.len(), &name))?;
        Ok(Self { name, metadata, tensors, data })
    }

    /// Parses `bytes`, the beginning of a file of `len` bytes.
    fn parse_head(bytes: &[u8], len: u64, name: &str) -> Result<Contents, FormatError> {
        let text = header_text(bytes, name)?;
        let start = 8 + text.len() as u64;
        let header: Header = serde_json::from_str(text)
            .map_err(|error| FormatError::InvalidHeader { file: name.to_owned(), reason: error.to_string() })?;
        let metadata = unique_metadata(name, header.metadata)?;
        let mut seen = HashSet::with_capacity(header.tensors.len());
        for (tensor, _) in &header.tensors {
            if !seen.insert(tensor.as_str()) {
                return Err(FormatError::DuplicateTensor { file: name.to_owned(), tensor: tensor.clone() });
            }
        }
        Ok((metadata, place(name, header.tensors, start, len - start)?))
    }
}

/// Returns the JSON text of the header.
fn header_text<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str, FormatError> {
    let truncated = |what: &str, offset, needed| FormatError::Truncated {
        file: file.to_owned(),
        what: what.to_owned(),
        offset,
        needed,
        available: bytes.len() as u64 - offset,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        // Such a file is too short for a header, but not for a web page or a pointer.
        return Err(if bytes.is_empty() {
            FormatError::EmptyFile { file: file.to_owned() }
        } else {
            truncated("the header length", 0, 8)
        });
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_LIMIT || rest.first().is_some_and(|&first| first != b'{') {
        return Err(match crate::sniff::refusal(file, bytes, "safetensors") {
            FormatError::UnknownFormat { file, .. } if length > HEADER_LIMIT => {
                FormatError::HeaderTooLarge { file, found: length, limit: HEADER_LIMIT }
            }
            FormatError::UnknownFormat { file, .. } => {
                FormatError::InvalidHeader { file, reason: "it does not begin with '{'".to_owned() }
            }
            known => known,
        });
    }
    let Some(header) = rest.get(..length as usize) else { return Err(truncated("the header", 8, length)) };
    std::str::from_utf8(header).map_err(|error| FormatError::InvalidUtf8 {
        file: file.to_owned(),
        what: "the header".to_owned(),
        offset: 8 + error.valid_up_to() as u64,
    })
}

fn unique_metadata(file: &str, found: Vec<Vec<(String, String)>>) -> Result<Vec<(String, String)>, FormatError> {
    let duplicate = |key: &str| FormatError::DuplicateKey { file: file.to_owned(), key: key.to_owned() };
    if found.len() > 1 {
        return Err(duplicate(METADATA_KEY));
    }
    let metadata = found.into_iter().next().unwrap_or_default();
    let mut seen = HashSet::with_capacity(metadata.len());
    for (key, _) in &metadata {
        if !seen.insert(key.as_str()) {
            return Err(duplicate(key));
        }
    }
    Ok(metadata)
}

/// Checks types, sizes and offsets. The data section has `data_len` bytes from `start` of the file.
fn place(
    file: &str,
    entries: Vec<(String, Entry)>,
    start: u64,
    data_len: u64,
) -> Result<Vec<(TensorInfo, Range<u64>)>, FormatError> {
    check_cover(file, &entries, data_len)?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let [begin, end] = entry.data_offsets;
        let Some((element, width)) = dtype(&entry.dtype) else {
            return Err(FormatError::UnknownDtype { file: file.to_owned(), tensor: name, found: entry.dtype });
        };
        let overflow =
            || FormatError::SizeOverflow { file: file.to_owned(), tensor: name.clone(), shape: entry.shape.clone() };
        let count = entry.shape.iter().try_fold(1u64, |count, &dim| count.checked_mul(dim));
        let bits = count.and_then(|count| count.checked_mul(width)).ok_or_else(overflow)?;
        if !bits.is_multiple_of(8) || bits / 8 != end - begin {
            return Err(FormatError::SizeMismatch {
                file: file.to_owned(),
                tensor: name,
                shape: entry.shape,
                found: end - begin,
                expected: bits.div_ceil(8),
            });
        }
        let shape = entry.shape.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| overflow())?;
        tensors.push((TensorInfo { name, element, shape, size: end - begin }, start + begin..start + end));
    }
    Ok(tensors)
}

/// Checks that the tensors cover the data section: in order of offset, each begins where the last ended.
fn check_cover(file: &str, entries: &[(String, Entry)], data_len: u64) -> Result<(), FormatError> {
    let mut order: Vec<&(String, Entry)> = entries.iter().collect();
    order.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut covered = 0;
    let mut last = "";
    for (name, entry) in order {
        let [begin, end] = entry.data_offsets;
        let (file, tensor) = (file.to_owned(), name.clone());
        if end < begin {
            return Err(FormatError::ReversedOffsets { file, tensor, begin, end });
        }
        if end > data_len {
            let (offset, size) = (begin, end - begin);
            return Err(FormatError::TensorOutOfBounds { file, tensor, offset, size, available: data_len });
        }
        if begin < covered {
            return Err(FormatError::OverlappingTensors { file, first: last.to_owned(), second: tensor });
        }
        if begin > covered {
            return Err(FormatError::UncoveredBytes { file, begin: covered, end: begin });
        }
        (covered, last) = (end, name);
    }
    if covered < data_len {
        return Err(FormatError::UncoveredBytes { file: file.to_owned(), begin: covered, end: data_len });
    }
    Ok(())
}

/// Returns the element type of a dtype, and the number of bits per value.
fn dtype(name: &str) -> Option<(ElementType, u64)> {
    let integer = |integer: IntegerType| Some((ElementType::Integer(integer), 8 * integer.width() as u64));
    let other = |name: &'static str, bits| Some((ElementType::Other(name.into()), bits));
    match name {
        "F32" => Some((ElementType::Weights(Encoding::F32), 32)),
        "F16" => Some((ElementType::Weights(Encoding::F16), 16)),
        "BF16" => Some((ElementType::Weights(Encoding::BF16), 16)),
        "BOOL" => integer(IntegerType::Bool),
        "U8" => integer(IntegerType::U8),
        "I8" => integer(IntegerType::I8),
        "U16" => integer(IntegerType::U16),
        "I16" => integer(IntegerType::I16),
        "U32" => integer(IntegerType::U32),
        "I32" => integer(IntegerType::I32),
        "U64" => integer(IntegerType::U64),
        "I64" => integer(IntegerType::I64),
        "F64" => other("F64", 64),
        "C64" => other("C64", 64),
        "F8_E4M3" => Some((ElementType::F8E4M3, 8)),
        "F8_E5M2" => other("F8_E5M2", 8),
        "F8_E8M0" => other("F8_E8M0", 8),
        "F8_E4M3FNUZ" => other("F8_E4M3FNUZ", 8),
        "F8_E5M2FNUZ" => other("F8_E5M2FNUZ", 8),
        "F6_E2M3" => other("F6_E2M3", 6),
        "F6_E3M2" => other("F6_E3M2", 6),
        "F4" => other("F4", 4),
        _ => None,
    }
}

/// Returns the name of `element` in a header, or `None` if safetensors has no such type.
pub(super) fn dtype_name(element: &ElementType) -> Option<&'static str> {
    match element {
        ElementType::Weights(Encoding::F32) => Some("F32"),
        ElementType::Weights(Encoding::F16) => Some("F16"),
        ElementType::Weights(Encoding::BF16) => Some("BF16"),
        ElementType::Integer(integer) => Some(integer.name()),
        ElementType::F8E4M3 => Some("F8_E4M3"),
        ElementType::Weights(_) | ElementType::Other(_) => None,
    }
}
