//! The formatting of one field: specification, padding and numbers.

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::text;
use crate::value::Value;
use crate::value::marked::{Builder, Str};

/// The widest field and the longest fraction. Rust's own formatting panics beyond 2^16.
pub(crate) const MAX_WIDTH: usize = 10_000;

/// A format specification.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spec {
    pub fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    pub align: Option<char>,
    /// `+`, `-` or a space.
    pub sign: Option<char>,
    pub alternate: bool,
    pub width: usize,
    /// The separator of thousands.
    pub grouping: Option<char>,
    pub precision: Option<usize>,
    pub kind: Option<char>,
    /// `true` if the specification comes from outside the template. The formatted field is then marked.
    pub outside: bool,
}

pub(crate) fn wrong(what: impl Into<String>) -> Error {
    Error::failed(what)
}

/// Parses the digits at the start of `rest`. Returns the number and the remainder.
pub(crate) fn number(rest: &str) -> Result<(Option<usize>, &str)> {
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok((None, rest));
    }
    match rest[..len].parse() {
        Ok(value) if value <= MAX_WIDTH => Ok((Some(value), &rest[len..])),
        _ => Err(wrong(format!("a width or precision in a format exceeds {MAX_WIDTH}"))),
    }
}

/// Python's `format(value, spec)`.
pub(crate) fn formatted(value: &Value, spec: &Str, budget: &mut Budget) -> Result<Str> {
    if spec.is_empty() {
        return text::string(value, budget);
    }
    let spec = Spec { outside: spec.is_outside(), ..parsed(spec)? };
    match value {
        Value::Undefined(_) | Value::Str(_) | Value::Markup(_) if matches!(spec.kind, None | Some('s')) => {
            padded_text(&text::string(value, budget)?, &spec, spec.align.unwrap_or('<'), budget)
        }
        Value::Int(_) | Value::Bool(_) if !matches!(spec.kind, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')) => {
            integer(value.as_int().unwrap_or(0), &spec, spec.align.unwrap_or('>'), budget)
        }
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => match spec.kind {
            None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => {
                real(value.as_float().unwrap_or(0.0), &spec, spec.align.unwrap_or('>'), budget)
            }
            Some(kind) => Err(wrong(format!("Unknown format code '{kind}' for object of type 'float'"))),
        },
        other => Err(wrong(format!("unsupported format string passed to {}.__format__", other.type_name()))),
    }
}

/// Parses `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
fn parsed(text: &str) -> Result<Spec> {
    let mut spec = Spec::default();
    let is_align = |c: char| "<>^=".contains(c);
    let mut chars = text.chars();
    let mut rest = text;
    match (chars.next(), chars.next()) {
        (Some(fill), Some(align)) if is_align(align) => {
            (spec.fill, spec.align) = (Some(fill), Some(align));
            rest = chars.as_str();
        }
        (Some(align), _) if is_align(align) => {
            spec.align = Some(align);
            rest = &rest[1..];
        }
        _ => {}
    }
    if let Some(sign) = rest.chars().next().filter(|c| "+- ".contains(*c)) {
        spec.sign = Some(sign);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('#') {
        spec.alternate = true;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('0') {
        spec.fill = spec.fill.or(Some('0'));
        spec.align = spec.align.or(Some('='));
        rest = after;
    }
    let (width, after) = number(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(grouping) = rest.chars().next().filter(|c| ",_".contains(*c)) {
        spec.grouping = Some(grouping);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = number(after)?;
        spec.precision = Some(precision.ok_or_else(|| wrong("Format specifier missing precision"))?);
        rest = after;
    }
    let mut kind = rest.chars();
    spec.kind = kind.next();
    if kind.next().is_some() { Err(wrong("Invalid format specifier")) } else { Ok(spec) }
}

/// Truncates a text to the precision and pads it to the width.
pub(crate) fn padded_text(own: &Str, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(own.len().saturating_mul(2))?;
    let end = spec.precision.and_then(|most| own.char_indices().nth(most)).map_or(own.len(), |(at, _)| at);
    padded(&own.part(0..end, budget)?, "", spec, align, budget)
}

/// Pads a number to the width. `head` is its sign and prefix.
fn padded(body: &Str, head: &str, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(body.len())?;
    let missing = spec.width.saturating_sub(head.chars().count() + body.chars().count());
    let fill = Str::own(spec.fill.unwrap_or(' ').to_string());
    let (before, between) = match align {
        '<' => (0, 0),
        '^' => (missing / 2, 0),
        '=' => (0, missing),
        _ => (missing, 0),
    };
    let mut output = Builder::default();
    output.repeat(&fill, before, budget)?;
    output.own(head, budget)?;
    output.repeat(&fill, between, budget)?;
    output.push(body, budget)?;
    output.repeat(&fill, missing - before - between, budget)?;
    if spec.outside {
        output.mark_whole(true);
    }
    output.finish(budget)
}

/// Returns the largest number of bytes that a formatted number needs.
fn room_for_number(spec: &Spec) -> usize {
    spec.precision.unwrap_or(0).saturating_mul(8).saturating_add(1024)
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match spec.sign {
        _ if negative => "-",
        Some('+') => "+",
        Some(' ') => " ",
        _ => "",
    }
}

fn grouped(digits: &str, separator: Option<char>) -> String {
    let Some(separator) = separator else { return digits.to_owned() };
    let mut output = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            output.push(separator);
        }
        output.push(digit);
    }
    output
}

pub(crate) fn integer(value: i128, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(room_for_number(spec))?;
    let magnitude = value.unsigned_abs();
    let (prefix, digits) = match spec.kind {
        None | Some('d' | 'n') => ("", grouped(&magnitude.to_string(), spec.grouping)),
        Some('x') => ("0x", format!("{magnitude:x}")),
        Some('X') => ("0X", format!("{magnitude:X}")),
        Some('o') => ("0o", format!("{magnitude:o}")),
        Some('b') => ("0b", format!("{magnitude:b}")),
        Some('c') => {
            let character = u32::try_from(value).ok().and_then(char::from_u32);
            let character = character.ok_or_else(|| wrong("%c arg not in range"))?;
            let align = if align == '>' { '<' } else { align };
            return padded(&Str::own(character.to_string()), "", spec, align, budget);
        }
        Some(kind) => return Err(wrong(format!("Unknown format code '{kind}' for object of type 'int'"))),
    };
    let head = [sign(value < 0, spec), if spec.alternate { prefix } else { "" }].concat();
    // In `%`, the precision is the minimum number of digits.
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    padded(&Str::own(["0".repeat(zeros).as_str(), &digits].concat()), &head, spec, align, budget)
}

pub(crate) fn real(value: f64, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(room_for_number(spec))?;
    let kind = spec.kind;
    let magnitude = value.abs();
    let upper = kind.is_some_and(|kind| kind.is_ascii_uppercase());
    let body = if !magnitude.is_finite() {
        if magnitude.is_nan() { "nan" } else { "inf" }.to_owned()
    } else {
        match kind {
            Some('f' | 'F') => format!("{magnitude:.*}", spec.precision.unwrap_or(6)),
            Some('%') => format!("{:.*}%", spec.precision.unwrap_or(6), magnitude * 100.0),
            Some('e' | 'E') => exponential(magnitude, spec.precision.unwrap_or(6)),
            Some(_) => general(magnitude, spec.precision.unwrap_or(6), spec.alternate),
            None => match spec.precision {
                None => text::float(magnitude),
                Some(precision) => {
                    let general = general(magnitude, precision, false);
                    if general.contains(['.', 'e']) { general } else { general + ".0" }
                }
            },
        }
    };
    let body = if upper { body.to_uppercase() } else { body };
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let body = grouped(&body[..digits], spec.grouping) + &body[digits..];
    let sign = sign(value.is_sign_negative() && !value.is_nan(), spec);
    padded(&Str::own(body), sign, spec, align, budget)
}

/// C's `%e`.
fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// C's `%g`.
fn general(value: f64, precision: usize, keeps_zeros: bool) -> String {
    let precision = precision.max(1);
    let scientific = exponential(value, precision - 1);
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i64>().ok()).unwrap_or(0);
    let trim = |text: &str| -> String {
        if keeps_zeros || !text.contains('.') {
            return text.to_owned();
        }
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let fixed = usize::try_from(precision as i64 - 1 - exponent).ok().filter(|_| exponent >= -4);
    match fixed {
        Some(digits) => trim(&format!("{value:.digits$}")),
        None => match scientific.split_once('e') {
            Some((mantissa, exponent)) => format!("{}e{exponent}", trim(mantissa)),
            None => scientific,
        },
    }
}
