/// An array of one element type. Nested arrays are not supported.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the element types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// The number of the array type in GGUF.
pub(super) const ARRAY_ID: u32 = 9;

/// Runs `$body` with `$values` bound to the vector in `$array`, of any type.
macro_rules! with_values {
    ($array:expr, $values:ident => $body:expr) => {
        match $array {
            Array::U8($values) => $body,
            Array::I8($values) => $body,
            Array::U16($values) => $body,
            Array::I16($values) => $body,
            Array::U32($values) => $body,
            Array::I32($values) => $body,
            Array::F32($values) => $body,
            Array::Bool($values) => $body,
            Array::String($values) => $body,
            Array::U64($values) => $body,
            Array::I64($values) => $body,
            Array::F64($values) => $body,
        }
    };
}
pub(super) use with_values;

impl Array {
    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    /// Returns `true` if there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of the element type in GGUF.
    pub(super) fn element_id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// Returns the elements as integers, or `None` if they are of another type.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i128>> {
        fn widen<T: Copy + Into<i128>>(values: &[T]) -> Option<Vec<i128>> {
            Some(values.iter().map(|&v| v.into()).collect())
        }
        match self {
            Self::U8(values) => widen(values),
            Self::I8(values) => widen(values),
            Self::U16(values) => widen(values),
            Self::I16(values) => widen(values),
            Self::U32(values) => widen(values),
            Self::I32(values) => widen(values),
            Self::U64(values) => widen(values),
            Self::I64(values) => widen(values),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) => None,
        }
    }
}

impl Value {
    /// Returns the number of the type in GGUF.
    pub(super) fn id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::Array(_) => ARRAY_ID,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// Returns the value as an integer of any width, or `None` if it is of another type.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        match self {
            Self::U8(v) => Some((*v).into()),
            Self::I8(v) => Some((*v).into()),
            Self::U16(v) => Some((*v).into()),
            Self::I16(v) => Some((*v).into()),
            Self::U32(v) => Some((*v).into()),
            Self::I32(v) => Some((*v).into()),
            Self::U64(v) => Some((*v).into()),
            Self::I64(v) => Some((*v).into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// Describes the value for errors: its type, and the value itself if it is short.
    #[must_use]
    pub fn describe(&self) -> String {
        let name = type_name(self.id());
        match self {
            Self::U8(v) => format!("the {name} {v}"),
            Self::I8(v) => format!("the {name} {v}"),
            Self::U16(v) => format!("the {name} {v}"),
            Self::I16(v) => format!("the {name} {v}"),
            Self::U32(v) => format!("the {name} {v}"),
            Self::I32(v) => format!("the {name} {v}"),
            Self::F32(v) => format!("the {name} {v}"),
            Self::Bool(v) => format!("the {name} {v}"),
            Self::String(v) => format!("the {name} {}", crate::error::shown(v)),
            Self::Array(a) => format!("an array of {} {}", a.len(), type_name(a.element_id())),
            Self::U64(v) => format!("the {name} {v}"),
            Self::I64(v) => format!("the {name} {v}"),
            Self::F64(v) => format!("the {name} {v}"),
        }
    }
}

fn type_name(id: u32) -> &'static str {
    ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"]
        .get(id as usize)
        .copied()
        .unwrap_or("value")
}

macro_rules! conversions {
    ($($variant:ident($t:ty)),+) => {$(
        impl From<$t> for Value {
            fn from(value: $t) -> Self {
                Self::$variant(value)
            }
        }
        impl From<Vec<$t>> for Value {
            fn from(values: Vec<$t>) -> Self {
                Self::Array(Array::$variant(values))
            }
        }
        impl From<&[$t]> for Value {
            fn from(values: &[$t]) -> Self {
                Self::Array(Array::$variant(values.to_vec()))
            }
        }
    )+};
}
conversions!(
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    U64(u64),
    I64(i64),
    F64(f64)
);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<Array> for Value {
    fn from(value: Array) -> Self {
        Self::Array(value)
    }
}
