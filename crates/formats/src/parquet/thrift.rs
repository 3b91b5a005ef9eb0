//! Thrift's compact protocol, in which Parquet writes its metadata.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use super::ParquetError;
use super::bytes::Input;

/// The deepest nesting of values.
const MOST_DEPTH: usize = 32;

/// A value. Fields that this reader does not know are read and dropped with the rest of their structure.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Integer(i64),
    Double,
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    Struct(Vec<(i16, Value<'a>)>),
}

/// Reads a structure.
pub(super) fn structure<'a>(input: &mut Input<'a>) -> Result<Value<'a>, ParquetError> {
    fields(input, MOST_DEPTH)
}

fn fields<'a>(input: &mut Input<'a>, depth: usize) -> Result<Value<'a>, ParquetError> {
    let (mut fields, mut id) = (Vec::new(), 0i16);
    loop {
        let head = input.byte()?;
        if head == 0 {
            return Ok(Value::Struct(fields));
        }
        id = match head >> 4 {
            0 => i16::try_from(zigzag(input)?).map_err(|_| ParquetError::Metadata("a field's number"))?,
            step => id.checked_add(i16::from(step)).ok_or(ParquetError::Metadata("a field's number"))?,
        };
        let value = match head & 15 {
            1 => Value::Bool(true),
            2 => Value::Bool(false),
            kind => value(input, kind, depth)?,
        };
        fields.push((id, value));
    }
}

fn value<'a>(input: &mut Input<'a>, kind: u8, depth: usize) -> Result<Value<'a>, ParquetError> {
    let Some(depth) = depth.checked_sub(1) else { return Err(ParquetError::Metadata("values nested too deeply")) };
    Ok(match kind {
        // Of a list: a byte per element.
        1 | 2 => Value::Bool(input.byte()? == 1),
        3 => Value::Integer(i64::from(input.byte()? as i8)),
        4..=6 => Value::Integer(zigzag(input)?),
        7 => {
            input.take(8)?;
            Value::Double
        }
        8 => {
            let length = input.length()?;
            Value::Bytes(input.take(length)?)
        }
        9 | 10 => {
            let head = input.byte()?;
            let count = match head >> 4 {
                15 => input.length()?,
                count => usize::from(count),
            };
            // Every element has a byte at least.
            if count > input.rest() {
                return Err(ParquetError::Metadata("a list longer than the file"));
            }
            Value::List((0..count).map(|_| value(input, head & 15, depth)).collect::<Result<_, _>>()?)
        }
        11 => {
            let count = input.length()?;
            if count > 0 {
                let kinds = input.byte()?;
                for _ in 0..count {
                    value(input, kinds >> 4, depth)?;
                    value(input, kinds & 15, depth)?;
                }
            }
            Value::List(Vec::new())
        }
        12 => fields(input, depth)?,
        _ => return Err(ParquetError::Metadata("a value of an unknown type")),
    })
}

fn zigzag(input: &mut Input<'_>) -> Result<i64, ParquetError> {
    let value = input.varint()?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

impl<'a> Value<'a> {
    /// Returns a field of a structure.
    pub(super) fn get(&self, id: i16) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields.iter().find(|(known, _)| *known == id).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns a field that is an integer.
    pub(super) fn integer(&self, id: i16) -> Option<i64> {
        match self.get(id) {
            Some(Self::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns a field that is a size or a position.
    pub(super) fn size(&self, id: i16) -> Option<usize> {
        self.integer(id).and_then(|value| usize::try_from(value).ok())
    }

    /// Returns a field that is a list.
    pub(super) fn list(&self, id: i16) -> Option<&[Self]> {
        match self.get(id) {
            Some(Self::List(values)) => Some(values),
            _ => None,
        }
    }

    /// Returns a text.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_and_every_cut_is_an_error() {
        // 1: i32 -2; 2: "ab"; 3: [1, 2] of i64; 4: true; 20: double; 21: {1: "x"}; 22: map {1: 2}.
        let bytes = [
            0x15, 3, 0x18, 2, b'a', b'b', 0x19, 0x26, 2, 4, 0x11, 0x07, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0x1c, 0x18, 1,
            b'x', 0, 0x1b, 1, 0x55, 2, 4, 0,
        ];
        let value = structure(&mut Input::new(&bytes)).expect("a structure");
        assert_eq!((value.integer(1), value.size(1)), (Some(-2), None));
        assert_eq!(value.get(2).and_then(Value::text), Some("ab"));
        assert_eq!(value.list(3), Some(&[Value::Integer(1), Value::Integer(2)][..]));
        assert_eq!((value.get(4), value.get(20)), (Some(&Value::Bool(true)), Some(&Value::Double)));
        assert_eq!(value.get(21).and_then(|inner| inner.get(1)?.text()), Some("x"));
        for cut in 0..bytes.len() {
            assert!(structure(&mut Input::new(&bytes[..cut])).is_err(), "cut at {cut}");
        }
        // Structures in structures, without end.
        assert!(structure(&mut Input::new(&[0x1c; 100])).is_err());
    }
}
