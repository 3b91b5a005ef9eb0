//! Methods of strings.

use std::collections::HashSet;

use crate::budget::Budget;
use crate::characters::{is_decimal, is_small_digit, is_space, titlecase};
use crate::error::{Error, Result};
use crate::python::arguments::{Args, int, size, text};
use crate::python::sequences::with_markup_of;
use crate::python::{bytes, format, sequences, text};
use crate::value::Value;
use crate::value::marked::{Builder, Str};

/// Calls a method of `owner`, whose text is `own`.
pub(crate) fn call(owner: &Value, own: &Str, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let made = |text: Str| Ok(with_markup_of(owner, text));
    match name {
        "format" => return format::braces(owner, own, &args, budget),
        "format_map" => {
            let [values] = args.bind(name, ["mapping"], 1)?;
            return format::braces(owner, own, &named(&values.unwrap_or(Value::None), budget)?, budget);
        }
        "encode" => return bytes::encode(own, args, budget),
        "join" => return join(owner, own, args, budget),
        "replace" => return replace(owner, own, args, budget),
        "center" | "ljust" | "rjust" | "zfill" => return padded(owner, own, name, args, budget),
        "split" | "rsplit" => return split(owner, own, name == "rsplit", args, budget),
        "splitlines" => return split_lines(owner, own, args, budget),
        "partition" | "rpartition" => return partition(owner, own, name == "rpartition", args, budget),
        "count" | "find" | "index" | "rfind" | "rindex" => return search(own, name, args, budget),
        "startswith" | "endswith" => return affix(own, name, args, budget),
        "expandtabs" => return expand_tabs(owner, own, args, budget),
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            let (start, end) = (name != "rstrip", name != "lstrip");
            return made(stripped(own, chars.as_ref(), start, end, budget)?);
        }
        "removeprefix" | "removesuffix" => {
            let [part] = args.bind(name, ["affix"], 1)?;
            let part = part.unwrap_or(Value::None);
            let part = text(name, &part)?;
            budget.touch(part.len().min(own.len()))?;
            let rest = if name == "removeprefix" { own.strip_prefix(&**part) } else { own.strip_suffix(&**part) };
            return made(own.cut(rest.unwrap_or(own), budget)?);
        }
        _ => args.none(name)?,
    }
    // No character becomes longer than three times its bytes.
    budget.touch(own.len().saturating_mul(16))?;
    match name {
        "upper" => made(own.recased(own.to_uppercase(), |c| c.to_uppercase().count(), budget)?),
        "lower" | "casefold" => made(own.recased(own.to_lowercase(), |c| c.to_lowercase().count(), budget)?),
        "capitalize" => {
            let first = own.chars().next().map_or(0, char::len_utf8);
            let lower = own.recased(own.to_lowercase(), |c| c.to_lowercase().count(), budget)?;
            let skipped: usize = own.chars().take(1).flat_map(char::to_lowercase).map(char::len_utf8).sum();
            let mut output = Builder::default();
            output.push(&with_cases(&own.part(0..first, budget)?, |_| Case::Title, budget)?, budget)?;
            output.part(&lower, skipped..lower.len(), budget)?;
            made(output.finish(budget)?)
        }
        "title" => made(title(own, budget)?),
        "swapcase" => made(with_cases(own, |c| if c.is_uppercase() { Case::Lower } else { Case::Upper }, budget)?),
        _ => Ok(Value::Bool(is(own, name, budget)?)),
    }
}

/// Converts a mapping to keyword arguments.
fn named(values: &Value, budget: &mut Budget) -> Result<Args> {
    let Some(dict) = values.as_dict() else { return Err(Error::failed("format_map needs a mapping")) };
    budget.make_items(3 * dict.len())?;
    let pairs = dict.iter().filter_map(|(key, value)| Some((key.as_text()?.clone(), value.clone())));
    Ok(Args { positional: Vec::new(), keyword: pairs.collect() })
}

/// The case of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Upper,
    /// Upper case for the first letter of a ligature only.
    Title,
    Lower,
}

/// Changes the case of each character to the result of `case`. The caller has counted the bytes.
pub(crate) fn with_cases(own: &Str, mut case: impl FnMut(char) -> Case, budget: &mut Budget) -> Result<Str> {
    let mut output = Builder::default();
    for (c, outside) in own.marked_chars() {
        match case(c) {
            Case::Upper => c.to_uppercase().for_each(|c| output.char(c, outside)),
            Case::Title => titlecase(c).for_each(|c| output.char(c, outside)),
            Case::Lower => c.to_lowercase().for_each(|c| output.char(c, outside)),
        }
    }
    output.finish(budget)
}

/// Evaluates the methods that return a boolean.
fn is(own: &Str, name: &str, budget: &mut Budget) -> Result<bool> {
    let all = |test: fn(char) -> bool| !own.is_empty() && own.chars().all(test);
    let cased = |c: char| c.is_uppercase() || c.is_lowercase();
    Ok(match name {
        "isascii" => own.is_ascii(),
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(|c| is_decimal(c) || is_small_digit(c)),
        "isidentifier" => all(|c| c == '_' || c.is_alphanumeric()) && !own.starts_with(char::is_numeric),
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => own.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace())),
        "islower" => own.chars().any(cased) && !own.chars().any(char::is_uppercase),
        "isupper" => own.chars().any(cased) && !own.chars().any(char::is_lowercase),
        _ => own.chars().any(cased) && *title(own, budget)? == **own,
    })
}

/// Python's `strip`. Removes white space, or the characters in `chars`.
pub(crate) fn stripped(own: &Str, chars: Option<&Value>, start: bool, end: bool, budget: &mut Budget) -> Result<Str> {
    let set: Option<HashSet<char>> = match chars {
        None | Some(Value::None) => None,
        Some(chars) => {
            let chars = text("strip", chars)?;
            budget.touch(chars.len().saturating_add(own.len()).saturating_mul(16))?;
            Some(chars.chars().collect())
        }
    };
    budget.touch(own.len())?;
    let matches = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    let rest = if start { own.trim_start_matches(matches) } else { own };
    own.cut(if end { rest.trim_end_matches(matches) } else { rest }, budget)
}

/// Python's `title`. A letter that follows no letter becomes upper case.
fn title(own: &Str, budget: &mut Budget) -> Result<Str> {
    let mut inside = false;
    let case = |c: char| {
        let case = if inside { Case::Lower } else { Case::Title };
        inside = c.is_uppercase() || c.is_lowercase();
        case
    };
    with_cases(own, case, budget)
}

fn join(owner: &Value, own: &Str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [values] = args.bind("join", ["iterable"], 1)?;
    let items = sequences::items(&values.unwrap_or(Value::None), budget)?;
    let mut output = Builder::default();
    for (index, item) in items.iter().enumerate() {
        budget.step()?;
        if index > 0 {
            output.push(own, budget)?;
        }
        match owner {
            Value::Markup(_) => output.push(&text::escaped(item, budget)?, budget)?,
            _ => output.push(text("join", item)?, budget)?,
        }
    }
    Ok(with_markup_of(owner, output.finish(budget)?))
}

fn replace(owner: &Value, own: &Str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"], 2)?;
    let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
    let count = count.map_or(Ok(-1), |count| int("replace", &count))?;
    Ok(with_markup_of(owner, replaced(own, text("replace", &old)?, text("replace", &new)?, count, budget)?))
}

/// Python's `replace`. A negative count replaces all.
pub(crate) fn replaced(own: &Str, old: &Str, new: &Str, count: i128, budget: &mut Budget) -> Result<Str> {
    let count = if count < 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
    budget.touch(own.len().saturating_add(old.len()))?;
    let mut output = Builder::default();
    let mut copied = 0;
    for (at, found) in own.match_indices(&**old).take(count) {
        budget.step()?;
        output.part(own, copied..at, budget)?;
        output.push(new, budget)?;
        copied = at + found.len();
    }
    if copied == 0 && output.len() == 0 {
        return Ok(own.clone());
    }
    output.part(own, copied..own.len(), budget)?;
    output.finish(budget)
}

/// Evaluates `center`, `ljust`, `rjust` and `zfill`.
fn padded(owner: &Value, own: &Str, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [width, fill] = args.bind(name, ["width", "fillchar"], 1)?;
    let width = size(name, &width.unwrap_or(Value::None))?;
    let fill = fill.map_or_else(|| Ok(Str::own(" ")), |fill| text(name, &fill).cloned())?;
    budget.touch(own.len())?;
    if fill.chars().nth(1).is_some() || fill.is_empty() {
        return Err(Error::failed("the fill character must be exactly one character long"));
    }
    let missing = width.saturating_sub(own.chars().count());
    let mut output = Builder::default();
    match name {
        "ljust" => {
            output.push(own, budget)?;
            output.repeat(&fill, missing, budget)?;
        }
        "rjust" => {
            output.repeat(&fill, missing, budget)?;
            output.push(own, budget)?;
        }
        "center" => {
            // If the width is odd, Python puts the odd character on the left.
            let left = missing / 2 + (missing & width & 1);
            output.repeat(&fill, left, budget)?;
            output.push(own, budget)?;
            output.repeat(&fill, missing - left, budget)?;
        }
        _ => {
            let signed = usize::from(own.starts_with(['+', '-']));
            output.part(own, 0..signed, budget)?;
            output.repeat(&Str::own("0"), missing, budget)?;
            output.part(own, signed..own.len(), budget)?;
        }
    }
    Ok(with_markup_of(owner, output.finish(budget)?))
}

/// Replaces each tab with spaces up to the next multiple of the tab size.
fn expand_tabs(owner: &Value, own: &Str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [width] = args.bind("expandtabs", ["tabsize"], 0)?;
    let width = width.map_or(Ok(8), |width| size("expandtabs", &width))?;
    let mut output = Builder::default();
    let mut column = 0;
    budget.touch(own.len().saturating_mul(16))?;
    for (at, c) in own.char_indices() {
        match c {
            '\t' => {
                let spaces = if width == 0 { 0 } else { width - column % width };
                let space = Str::marked(" ", own.is_outside_at(at));
                output.repeat(&space, spaces, budget)?;
                column += spaces;
            }
            _ => {
                output.part(own, at..at + c.len_utf8(), budget)?;
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(with_markup_of(owner, output.finish(budget)?))
}

fn split(owner: &Value, own: &Str, from_end: bool, args: Args, budget: &mut Budget) -> Result<Value> {
    let [separator, most] = args.bind("split", ["sep", "maxsplit"], 0)?;
    let most = most.map_or(Ok(-1), |most| int("split", &most))?;
    let most = if most < 0 { usize::MAX } else { usize::try_from(most).unwrap_or(usize::MAX) };
    let mut parts = Vec::new();
    let mut add = |part: &str, budget: &mut Budget| -> Result<()> {
        budget.make(0)?;
        parts.push(with_markup_of(owner, own.cut(part, budget)?));
        Ok(())
    };
    budget.touch(own.len())?;
    match separator {
        None | Some(Value::None) => words(own, most, from_end, |word| add(word, budget))?,
        Some(separator) => {
            let separator = text("split", &separator)?;
            budget.touch(separator.len())?;
            let most = most.saturating_add(1);
            match (separator.is_empty(), from_end) {
                (true, _) => return Err(Error::failed("empty separator")),
                (false, false) => own.splitn(most, &**separator).try_for_each(|part| add(part, budget))?,
                (false, true) => own.rsplitn(most, &**separator).try_for_each(|part| add(part, budget))?,
            }
        }
    }
    if from_end {
        parts.reverse();
    }
    budget.list(parts)
}

/// Passes each word between white space to `give`, after at most `most` splits. With `from_end`, the last word comes
/// first.
fn words<'t>(own: &'t str, most: usize, from_end: bool, mut give: impl FnMut(&'t str) -> Result<()>) -> Result<()> {
    let mut rest = own;
    let mut splits = 0;
    loop {
        rest = if from_end { rest.trim_end_matches(is_space) } else { rest.trim_start_matches(is_space) };
        if rest.is_empty() {
            return Ok(());
        }
        let at = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
        match at {
            Some(at) if splits < most => {
                let width = rest[at..].chars().next().map_or(1, char::len_utf8);
                let (word, after) =
                    if from_end { (&rest[at + width..], &rest[..at]) } else { (&rest[..at], &rest[at..]) };
                give(word)?;
                splits += 1;
                rest = after;
            }
            // The remainder keeps the white space at its other end.
            _ => return give(rest),
        }
    }
}

/// Passes each line to `give`, without and with its end.
pub(crate) fn lines<'t>(own: &'t str, mut give: impl FnMut(&'t str, &'t str) -> Result<()>) -> Result<()> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut rest = own;
    while !rest.is_empty() {
        let (end, after) = match rest.char_indices().find(|(_, c)| ends(*c)) {
            Some((at, '\r')) if rest[at + 1..].starts_with('\n') => (at, at + 2),
            Some((at, c)) => (at, at + c.len_utf8()),
            None => (rest.len(), rest.len()),
        };
        give(&rest[..end], &rest[..after])?;
        rest = &rest[after..];
    }
    Ok(())
}

fn split_lines(owner: &Value, own: &Str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [keep] = args.bind("splitlines", ["keepends"], 0)?;
    let keep = keep.is_some_and(|keep| keep.truth());
    budget.touch(own.len())?;
    let mut found = Vec::new();
    lines(own, |line, whole| {
        budget.make(0)?;
        found.push(with_markup_of(owner, own.cut(if keep { whole } else { line }, budget)?));
        Ok(())
    })?;
    budget.list(found)
}

fn partition(owner: &Value, own: &Str, from_end: bool, args: Args, budget: &mut Budget) -> Result<Value> {
    let [separator] = args.bind("partition", ["sep"], 1)?;
    let separator = separator.unwrap_or(Value::None);
    let separator = text("partition", &separator)?;
    if separator.is_empty() {
        return Err(Error::failed("empty separator"));
    }
    budget.touch(own.len().saturating_add(separator.len()))?;
    let at = if from_end { own.rfind(&**separator) } else { own.find(&**separator) };
    let end = own.len();
    let bounds = match at {
        Some(at) => [0..at, at..at + separator.len(), at + separator.len()..end],
        None if from_end => [0..0, 0..0, 0..end],
        None => [0..end, end..end, end..end],
    };
    let mut parts = Vec::new();
    for range in bounds {
        parts.push(with_markup_of(owner, own.part(range, budget)?));
    }
    budget.tuple(parts)
}

/// Returns the part of a string between two character indices, and the number of characters before it.
fn window<'t>(
    own: &'t str,
    start: Option<Value>,
    end: Option<Value>,
    name: &str,
    budget: &mut Budget,
) -> Result<(&'t str, usize)> {
    let bound = |value: Option<Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => int(name, &value).map(Some),
    };
    let (start, end) = (bound(start)?, bound(end)?);
    if start.is_none() && end.is_none() {
        return Ok((own, 0));
    }
    budget.touch(own.len().saturating_mul(3))?;
    let len = own.chars().count();
    let clamp = |at: i128| {
        let at = if at < 0 { at.saturating_add(len as i128) } else { at };
        usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(len)
    };
    let (start, end) = (start.map_or(0, clamp), end.map_or(len, clamp));
    let byte = |at: usize| own.char_indices().nth(at).map_or(own.len(), |(at, _)| at);
    Ok((own.get(byte(start)..byte(end)).unwrap_or(""), start))
}

fn search(own: &str, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [part, start, end] = args.bind(name, ["sub", "start", "end"], 1)?;
    let part = part.unwrap_or(Value::None);
    let part = &**text(name, &part)?;
    let (own, before) = window(own, start, end, name, budget)?;
    budget.touch(own.len().saturating_mul(2).saturating_add(part.len()))?;
    if name == "count" {
        return Ok(Value::Int(own.matches(part).count() as i128));
    }
    let found = if name.starts_with('r') { own.rfind(part) } else { own.find(part) };
    match found {
        Some(at) => Ok(Value::Int((before + own[..at].chars().count()) as i128)),
        None if name.ends_with("index") => Err(Error::failed("substring not found")),
        None => Ok(Value::Int(-1)),
    }
}

fn affix(own: &str, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [part, start, end] = args.bind(name, ["affix", "start", "end"], 1)?;
    let (own, _) = window(own, start, end, name, budget)?;
    let mut has = |part: &Value| -> Result<bool> {
        let part = &**text(name, part)?;
        budget.touch(part.len().min(own.len()).saturating_add(16))?;
        Ok(if name == "startswith" { own.starts_with(part) } else { own.ends_with(part) })
    };
    match part.unwrap_or(Value::None) {
        Value::Tuple(parts) => {
            for part in parts.iter() {
                if has(part)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        part => Ok(Value::Bool(has(&part)?)),
    }
}
