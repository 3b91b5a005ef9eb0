//! Python's `bytes`, the result of `str.encode`.

use std::fmt::Write;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::{Args, text};
use crate::value::marked::{Builder, Str};
use crate::value::{Bytes, ObjectKind, Value};

/// A text encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Ascii,
    Latin1,
}

impl Encoding {
    fn named(name: &str) -> Result<Self> {
        match &*name.to_ascii_lowercase().replace(['_', ' '], "-") {
            "utf-8" | "utf8" | "u8" => Ok(Self::Utf8),
            "ascii" | "us-ascii" | "646" => Ok(Self::Ascii),
            "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "l1" => Ok(Self::Latin1),
            _ => Err(Error::failed(format!("unknown encoding: {}", shortened(name)))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Ascii => "ascii",
            Self::Latin1 => "latin-1",
        }
    }

    /// Returns the first code point that cannot be encoded.
    fn end(self) -> u32 {
        match self {
            Self::Utf8 => u32::MAX,
            Self::Ascii => 0x80,
            Self::Latin1 => 0x100,
        }
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

/// Reads the encoding and the error handler from the arguments.
fn how(name: &str, args: Args) -> Result<(Encoding, String)> {
    let [encoding, errors] = args.bind(name, ["encoding", "errors"], 0)?;
    let encoding = encoding.map_or(Ok(Encoding::Utf8), |encoding| Encoding::named(text(name, &encoding)?))?;
    let errors =
        errors.map_or(Ok("strict".to_owned()), |errors| text(name, &errors).map(|errors| shortened(errors)))?;
    Ok((encoding, errors))
}

fn unknown_handler(errors: &str) -> Error {
    Error::failed(format!("unknown error handler name '{errors}'"))
}

/// `text.encode(encoding, errors)`
pub(crate) fn encode(own: &Str, args: Args, budget: &mut Budget) -> Result<Value> {
    let (encoding, errors) = how("encode", args)?;
    // `&#2047;` replaces two bytes of UTF-8.
    budget.make(own.len().saturating_mul(4))?;
    let mut bytes = Vec::with_capacity(own.len());
    for c in own.chars() {
        let code = u32::from(c);
        match (encoding, &*errors) {
            (Encoding::Utf8, _) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            _ if code < encoding.end() => bytes.push(code as u8),
            (_, "ignore") => {}
            (_, "replace") => bytes.push(b'?'),
            (_, "xmlcharrefreplace") => bytes.extend_from_slice(format!("&#{code};").as_bytes()),
            (_, "backslashreplace") => {
                let escape = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                bytes.extend_from_slice(escape.as_bytes());
            }
            (_, "strict") => {
                let name = encoding.name();
                return Err(Error::failed(format!("'{name}' codec can't encode character {c:?}")));
            }
            (_, errors) => return Err(unknown_handler(errors)),
        }
    }
    Ok(Value::object(ObjectKind::Bytes(Bytes { bytes: bytes.into(), outside: own.is_outside() })))
}

/// Calls a method.
pub(crate) fn call(own: &Bytes, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    // Each byte becomes at most U+FFFD, which has three bytes.
    budget.make(own.len().saturating_mul(3))?;
    if name == "hex" {
        args.none(name)?;
        let mut digits = String::with_capacity(own.len() * 2);
        for byte in own.iter() {
            let _ = write!(digits, "{byte:02x}");
        }
        return Ok(Value::Str(Str::marked(digits, own.outside)));
    }
    let (encoding, errors) = how(name, args)?;
    let wrong = || Error::failed(format!("'{}' codec can't decode the bytes", encoding.name()));
    let decoded = match (encoding, &*errors) {
        (Encoding::Latin1, _) => own.iter().map(|byte| char::from(*byte)).collect(),
        (Encoding::Ascii, _) if own.is_ascii() => own.iter().map(|byte| char::from(*byte)).collect(),
        (Encoding::Utf8, "strict") => std::str::from_utf8(own).map_err(|_| wrong())?.to_owned(),
        (_, "strict") => return Err(wrong()),
        (Encoding::Ascii, "ignore") => own.iter().filter(|b| b.is_ascii()).map(|b| char::from(*b)).collect(),
        (Encoding::Ascii, "replace") => {
            own.iter().map(|b| if b.is_ascii() { char::from(*b) } else { char::REPLACEMENT_CHARACTER }).collect()
        }
        (Encoding::Utf8, "replace") => String::from_utf8_lossy(own).into_owned(),
        (Encoding::Utf8, "ignore") => own.utf8_chunks().map(|chunk| chunk.valid()).collect(),
        (_, errors) => return Err(unknown_handler(errors)),
    };
    Ok(Value::Str(Str::marked(decoded, own.outside)))
}

/// Writes `repr(bytes)`.
pub(crate) fn write_repr(own: &Bytes, output: &mut Builder, budget: &mut Budget) -> Result<()> {
    budget.touch(own.len().saturating_mul(4).saturating_add(3))?;
    let quote = if own.contains(&b'\'') && !own.contains(&b'"') { '"' } else { '\'' };
    let mut written = String::from("b");
    written.push(quote);
    for byte in own.iter() {
        match char::from(*byte) {
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            c if c == quote || c == '\\' => written.extend(['\\', c]),
            c @ ' '..='~' => written.push(c),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(written, "\\x{byte:02x}");
            }
        }
    }
    written.push(quote);
    output.push(&Str::marked(written, own.outside), budget)
}
