//! Methods of strings.

use super::arguments::{Args, int, size, text};
use super::ast::Text;
use super::budget::Budget;
use super::fault::{Fault, Result};
use super::format;
use super::lexer::is_space;
use super::operators::{self, alike};
use super::value::Value;

/// Their names.
pub(super) const METHODS: [&str; 41] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Calls a method of `owner`, whose text is `own`.
pub(super) fn call(owner: &Value, own: &Text, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    // What most of them make is not longer than three times what there was.
    budget.make(own.len())?;
    let made = |text: String| Ok(alike(owner, text));
    match name {
        "format" => return format::braces(owner, own, &args, budget),
        "join" => return join(owner, own, args, budget),
        "replace" => return replace(owner, own, args, budget),
        "center" | "ljust" | "rjust" | "zfill" => return padded(owner, own, name, args, budget),
        "split" | "rsplit" => return split(owner, own, name == "rsplit", args, budget),
        "splitlines" => return split_lines(owner, own, args, budget),
        "partition" | "rpartition" => return partition(owner, own, name == "rpartition", args, budget),
        "count" | "find" | "index" | "rfind" | "rindex" => return search(own, name, args),
        "startswith" | "endswith" => return affix(own, name, args),
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            let (start, end) = (name != "rstrip", name != "lstrip");
            return made(stripped(own, chars.as_ref(), start, end)?.to_owned());
        }
        "removeprefix" | "removesuffix" => {
            let [part] = args.bind(name, ["affix"], 1)?;
            let part = text(name, part.as_ref().unwrap_or(&Value::None))?.to_owned();
            let rest = if name == "removeprefix" { own.strip_prefix(&*part) } else { own.strip_suffix(&*part) };
            return made(rest.unwrap_or(own).to_owned());
        }
        _ => args.none(name)?,
    }
    match name {
        "upper" => made(own.to_uppercase()),
        "lower" | "casefold" => made(own.to_lowercase()),
        "capitalize" => made(capitalized(own)),
        "title" => made(title(own)),
        "swapcase" => made(
            own.chars()
                .flat_map(|c| -> Vec<char> {
                    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
                })
                .collect(),
        ),
        _ => Ok(Value::Bool(is(own, name))),
    }
}

/// The questions about characters.
fn is(own: &str, name: &str) -> bool {
    let all = |test: fn(char) -> bool| !own.is_empty() && own.chars().all(test);
    let cased = |c: char| c.is_uppercase() || c.is_lowercase();
    match name {
        "isascii" => own.is_ascii(),
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(|c| is_decimal(c) || is_small_digit(c)),
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => own.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace())),
        "islower" => own.chars().any(cased) && !own.chars().any(char::is_uppercase),
        "isupper" => own.chars().any(cased) && !own.chars().any(char::is_lowercase),
        _ => own.chars().any(cased) && title(own) == own,
    }
}

/// The zeros of Unicode's decimal digits in its basic plane; nine others follow each.
const ZEROS: [char; 37] = [
    '\u{30}', '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
    '\u{c66}', '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{1090}', '\u{17e0}',
    '\u{1810}', '\u{1946}', '\u{19d0}', '\u{1a80}', '\u{1a90}', '\u{1b50}', '\u{1bb0}', '\u{1c40}', '\u{1c50}',
    '\u{a620}', '\u{a8d0}', '\u{a900}', '\u{a9d0}', '\u{a9f0}', '\u{aa50}', '\u{abf0}', '\u{ff10}',
];

fn is_decimal(c: char) -> bool {
    ZEROS.iter().any(|zero| u32::from(c).checked_sub(u32::from(*zero)).is_some_and(|above| above < 10))
}

/// Superscripts, subscripts and circled ones.
fn is_small_digit(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨')
}

/// Python's `strip`: white space, or the characters of a string.
pub(super) fn stripped<'t>(own: &'t str, chars: Option<&Value>, start: bool, end: bool) -> Result<&'t str> {
    let set: Option<Vec<char>> = match chars {
        None | Some(Value::None) => None,
        Some(chars) => Some(text("strip", chars)?.chars().collect()),
    };
    let matches = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    let own = if start { own.trim_start_matches(matches) } else { own };
    Ok(if end { own.trim_end_matches(matches) } else { own })
}

/// Python's `capitalize`.
pub(super) fn capitalized(own: &str) -> String {
    let mut chars = own.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    first + &chars.as_str().to_lowercase()
}

/// Python's `title`: a letter behind none is a capital.
fn title(own: &str) -> String {
    let mut output = String::with_capacity(own.len());
    let mut inside = false;
    for c in own.chars() {
        if inside {
            output.extend(c.to_lowercase())
        } else {
            output.extend(c.to_uppercase())
        }
        inside = c.is_uppercase() || c.is_lowercase();
    }
    output
}

fn join(owner: &Value, own: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [values] = args.bind("join", ["iterable"], 1)?;
    let items = operators::items(&values.unwrap_or(Value::None), budget)?;
    let mut output = String::new();
    for (index, item) in items.iter().enumerate() {
        let part = match (owner, item) {
            (Value::Markup(_), item) => operators::escaped(item, budget)?,
            (_, item) => text("join", item)?.to_owned(),
        };
        budget.make(part.len() + own.len())?;
        if index > 0 {
            output.push_str(own);
        }
        output.push_str(&part);
    }
    Ok(alike(owner, output))
}

fn replace(owner: &Value, own: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"], 2)?;
    let old = text("replace", old.as_ref().unwrap_or(&Value::None))?.to_owned();
    let new = text("replace", new.as_ref().unwrap_or(&Value::None))?.to_owned();
    let count = count.map_or(Ok(-1), |count| int("replace", &count))?;
    Ok(alike(owner, replaced(own, &old, &new, count, budget)?))
}

/// Python's `replace`; a negative count is all.
pub(super) fn replaced(own: &str, old: &str, new: &str, count: i128, budget: &mut Budget) -> Result<String> {
    let count = if count < 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
    let found = own.matches(old).count().min(count);
    budget.make(own.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(own.replacen(old, new, found))
}

/// A string filled up to a width.
fn padded(owner: &Value, own: &str, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [width, fill] = args.bind(name, ["width", "fillchar"], 1)?;
    let width = size(name, &width.unwrap_or(Value::None))?;
    let fill = fill.map_or(Ok(" ".to_owned()), |fill| text(name, &fill).map(str::to_owned))?;
    if fill.chars().count() != 1 {
        return Err(Fault::failed("the fill character must be exactly one character long"));
    }
    let len = own.chars().count();
    let missing = width.saturating_sub(len);
    budget.make(missing.saturating_mul(fill.len()))?;
    let filled = match name {
        "ljust" => own.to_owned() + &fill.repeat(missing),
        "rjust" => fill.repeat(missing) + own,
        "center" => {
            // Python puts the odd one on the left where the width is odd.
            let left = missing / 2 + (missing & width & 1);
            fill.repeat(left) + own + &fill.repeat(missing - left)
        }
        _ => {
            let signed = usize::from(own.starts_with(['+', '-']));
            [&own[..signed], &"0".repeat(missing), &own[signed..]].concat()
        }
    };
    Ok(alike(owner, filled))
}

fn split(owner: &Value, own: &str, from_end: bool, args: Args, budget: &mut Budget) -> Result<Value> {
    let [separator, most] = args.bind("split", ["sep", "maxsplit"], 0)?;
    let most = most.map_or(Ok(-1), |most| int("split", &most))?;
    let most = if most < 0 { usize::MAX } else { usize::try_from(most).unwrap_or(usize::MAX) };
    let mut parts: Vec<&str> = match separator {
        None | Some(Value::None) => words(own, most, from_end),
        Some(separator) => {
            let separator = text("split", &separator)?;
            match (separator.is_empty(), from_end) {
                (true, _) => return Err(Fault::failed("empty separator")),
                (false, false) => own.splitn(most.saturating_add(1), separator).collect(),
                (false, true) => own.rsplitn(most.saturating_add(1), separator).collect(),
            }
        }
    };
    if from_end {
        parts.reverse();
    }
    budget.make_items(parts.len())?;
    budget.list(parts.into_iter().map(|part| alike(owner, part)).collect())
}

/// Words between white space, at most `most` splits; from the end in reverse order.
fn words(own: &str, most: usize, from_end: bool) -> Vec<&str> {
    let trim = |rest: &'_ str| -> (usize, usize) {
        let trimmed = if from_end { rest.trim_end_matches(is_space) } else { rest.trim_start_matches(is_space) };
        if from_end { (0, trimmed.len()) } else { (rest.len() - trimmed.len(), rest.len()) }
    };
    let mut parts = Vec::new();
    let mut rest = own;
    loop {
        let (start, end) = trim(rest);
        rest = &rest[start..end];
        if rest.is_empty() {
            return parts;
        }
        let at = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
        match at {
            Some(at) if parts.len() < most => {
                let width = rest[at..].chars().next().map_or(1, char::len_utf8);
                let (word, after) =
                    if from_end { (&rest[at + width..], &rest[..at]) } else { (&rest[..at], &rest[at..]) };
                parts.push(word);
                rest = after;
            }
            // What is left keeps the white space at its other end.
            _ => {
                parts.push(rest);
                return parts;
            }
        }
    }
}

fn split_lines(owner: &Value, own: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [keep] = args.bind("splitlines", ["keepends"], 0)?;
    let keep = keep.is_some_and(|keep| keep.truth());
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = own;
    while !rest.is_empty() {
        let (end, after) = match rest.char_indices().find(|(_, c)| ends(*c)) {
            Some((at, '\r')) if rest[at + 1..].starts_with('\n') => (at, at + 2),
            Some((at, c)) => (at, at + c.len_utf8()),
            None => (rest.len(), rest.len()),
        };
        lines.push(alike(owner, &rest[..if keep { after } else { end }]));
        rest = &rest[after..];
    }
    budget.list(lines)
}

fn partition(owner: &Value, own: &str, from_end: bool, args: Args, budget: &mut Budget) -> Result<Value> {
    let [separator] = args.bind("partition", ["sep"], 1)?;
    let separator = separator.unwrap_or(Value::None);
    let separator = text("partition", &separator)?;
    if separator.is_empty() {
        return Err(Fault::failed("empty separator"));
    }
    let found = if from_end { own.rsplit_once(separator) } else { own.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", own],
        None => [own, "", ""],
    };
    budget.tuple(parts.map(|part| alike(owner, part)).to_vec())
}

/// The part of a string between two indices of characters, and how many characters stand before it.
fn window<'t>(own: &'t str, start: Option<Value>, end: Option<Value>, name: &str) -> Result<(&'t str, usize)> {
    let bound = |value: Option<Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => int(name, &value).map(Some),
    };
    let (start, end) = (bound(start)?, bound(end)?);
    if start.is_none() && end.is_none() {
        return Ok((own, 0));
    }
    let len = own.chars().count();
    let clamp = |at: i128| {
        let at = if at < 0 { at.saturating_add(len as i128) } else { at };
        usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(len)
    };
    let (start, end) = (start.map_or(0, clamp), end.map_or(len, clamp));
    let byte = |at: usize| own.char_indices().nth(at).map_or(own.len(), |(at, _)| at);
    Ok((own.get(byte(start)..byte(end)).unwrap_or(""), start))
}

fn search(own: &str, name: &str, args: Args) -> Result<Value> {
    let [part, start, end] = args.bind(name, ["sub", "start", "end"], 1)?;
    let part = part.unwrap_or(Value::None);
    let part = text(name, &part)?;
    let (own, before) = window(own, start, end, name)?;
    if name == "count" {
        return Ok(Value::Int(own.matches(part).count() as i128));
    }
    let found = if name.starts_with('r') { own.rfind(part) } else { own.find(part) };
    match found {
        Some(at) => Ok(Value::Int((before + own[..at].chars().count()) as i128)),
        None if name.ends_with("index") => Err(Fault::failed("substring not found")),
        None => Ok(Value::Int(-1)),
    }
}

fn affix(own: &str, name: &str, args: Args) -> Result<Value> {
    let [part, start, end] = args.bind(name, ["affix", "start", "end"], 1)?;
    let (own, _) = window(own, start, end, name)?;
    let has = |part: &Value| -> Result<bool> {
        let part = text(name, part)?;
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
