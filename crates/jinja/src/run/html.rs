//! Filters for HTML, URLs and file sizes.

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::Args;
use crate::python::{sequences, text};
use crate::run::numbers;
use crate::value::marked::{Builder, Str};
use crate::value::{ObjectKind, Value, View};

/// The named character references that are resolved. Others are kept.
const ENTITIES: [(&str, char); 20] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("deg", '°'),
    ("euro", '€'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("laquo", '«'),
    ("raquo", '»'),
];

/// The longest character reference, in bytes.
const MAX_REFERENCE: usize = 12;

/// Applies a filter of this module.
pub(crate) fn apply(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    match name {
        "filesizeformat" => file_size(value, args, budget),
        "striptags" => {
            args.none(name)?;
            without_tags(&text::string(value, budget)?, budget)
        }
        "urlencode" => {
            args.none(name)?;
            url_encoded(value, budget)
        }
        _ => attributes(value, args, budget),
    }
}

/// Formats a number of bytes for humans.
fn file_size(value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"], 0)?;
    let binary = binary.is_some_and(|binary| binary.truth());
    let bytes = match value.as_str() {
        Some(text) => numbers::parse_float(text, budget)?,
        None => value.as_float(),
    };
    let bytes = bytes.ok_or_else(|| {
        Error::failed(format!("filesizeformat needs a number, found a value of type {}", value.type_name()))
    })?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    budget.make(64)?;
    if bytes == 1.0 {
        return Ok(Value::str("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::str(format!("{} Bytes", bytes.trunc())));
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut scaled = bytes;
    let mut prefix = "";
    for next in prefixes {
        (scaled, prefix) = (scaled / base, next);
        if scaled < base {
            break;
        }
    }
    let unit = if binary { format!("{}iB", prefix.to_uppercase()) } else { format!("{prefix}B") };
    Ok(Value::str(format!("{scaled:.1} {unit}")))
}

/// Removes comments and tags, and collapses white space (`markupsafe.Markup.striptags`).
fn without_tags(own: &Str, budget: &mut Budget) -> Result<Value> {
    budget.make(own.len())?;
    let mut text = own.to_string();
    loop {
        // Removing a comment may join the text around it to another comment, so the search starts again.
        budget.touch(text.len().saturating_mul(2))?;
        let Some(start) = text.find("<!--") else { break };
        let Some(len) = text[start..].find("-->") else { break };
        text.replace_range(start..start + len + 3, "");
    }
    budget.touch(text.len().saturating_mul(2))?;
    let mut plain = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find('<')
        && let Some(len) = rest[start..].find('>')
    {
        plain.push_str(&rest[..start]);
        rest = &rest[start + len + 1..];
    }
    plain.push_str(rest);
    budget.touch(plain.len().saturating_mul(16))?;
    let words: Vec<&str> = plain.split(crate::characters::is_space).filter(|word| !word.is_empty()).collect();
    let mut output = Builder::default();
    output.own(&unescaped(&words.join(" ")), budget)?;
    output.mark_whole(own.is_outside());
    Ok(Value::Str(output.finish(budget)?))
}

/// Resolves character references.
fn unescaped(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        output.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(MAX_REFERENCE).position(|byte| byte == b';');
        match end.and_then(|end| Some((end, reference(&rest[1..end])?))) {
            Some((end, c)) => {
                output.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                output.push('&');
                rest = &rest[1..];
            }
        }
    }
    output.push_str(rest);
    output
}

fn reference(name: &str) -> Option<char> {
    let code = match name.strip_prefix('#') {
        None => return ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c),
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        },
    };
    char::from_u32(code.ok()?)
}

/// Percent-encodes a string, or formats pairs as a query.
fn url_encoded(value: &Value, budget: &mut Budget) -> Result<Value> {
    let mut output = Builder::default();
    let is_pairs = match value {
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) => true,
        Value::Object(object) => matches!(object.kind(), ObjectKind::View(..) | ObjectKind::Generator { .. }),
        _ => false,
    };
    if !is_pairs {
        quote(&text::string(value, budget)?, false, &mut output, budget)?;
        return Ok(Value::Str(output.finish(budget)?));
    }
    let pairs = match value {
        Value::Dict(dict) => sequences::view_items(View::Items, dict, budget)?,
        other => sequences::items(other, budget)?.to_vec(),
    };
    for (index, pair) in pairs.iter().enumerate() {
        let [key, value] = &sequences::items(pair, budget)?[..] else {
            return Err(Error::failed("urlencode needs pairs"));
        };
        if index > 0 {
            output.own("&", budget)?;
        }
        quote(&text::string(key, budget)?, true, &mut output, budget)?;
        output.own("=", budget)?;
        quote(&text::string(value, budget)?, true, &mut output, budget)?;
    }
    Ok(Value::Str(output.finish(budget)?))
}

/// Python's `urllib.parse.quote`. In a query, a space becomes a plus sign and slashes are quoted too.
fn quote(own: &Str, query: bool, output: &mut Builder, budget: &mut Budget) -> Result<()> {
    budget.touch(own.len().saturating_mul(8))?;
    for (c, outside) in own.marked_chars() {
        match c {
            ' ' if query => output.char('+', outside),
            '/' if !query => output.char(c, outside),
            _ if c.is_ascii_alphanumeric() || "_.-~".contains(c) => output.char(c, outside),
            _ => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    format!("%{byte:02X}").chars().for_each(|c| output.char(c, outside));
                }
            }
        }
    }
    Ok(())
}

/// Formats a dictionary as XML attributes.
fn attributes(value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let [space] = args.bind("xmlattr", ["autospace"], 0)?;
    let space = space.is_none_or(|space| space.truth());
    let Some(dict) = value.as_dict() else {
        return Err(Error::failed(format!("'{}' object has no attribute 'items'", value.type_name())));
    };
    let mut output = Builder::default();
    for (key, value) in dict.iter() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let name = text::escaped(key, budget)?;
        if name.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
            return Err(Error::failed(format!("Invalid character in attribute name: {}", text::shown(key))));
        }
        if output.len() > 0 || space {
            output.own(" ", budget)?;
        }
        output.push(&name, budget)?;
        output.own("=\"", budget)?;
        output.push(&text::escaped(value, budget)?, budget)?;
        output.own("\"", budget)?;
    }
    Ok(Value::Str(output.finish(budget)?))
}
