//! A bound on how deep a template's source can nest.
//!
//! The engine's parser, code generator and destructors recurse over expressions and `elif` chains without a bound of
//! their own for every form, so a hostile template could overflow the stack. Each level of an expression takes at
//! least one operator, bracket or word of this list; published templates have at most 28 in one tag.

use crate::error::{Result, TextError};

/// Most operators in one tag.
const MAX_OPERATORS: usize = 200;
/// Most `elif` tags in a template.
const MAX_ELIF: usize = 300;

/// Refuses a source that nests deeper than any real one.
pub(super) fn check(source: &str) -> Result<()> {
    let mut rest = source;
    let mut elif = 0;
    while let Some(at) = rest.find('{') {
        let (_, tag) = rest.split_at(at + 1);
        let line = || source[..source.len() - tag.len()].matches('\n').count() + 1;
        let refuse = |what: &str| Err(TextError::TemplateSyntax { message: format!("more than {what}"), line: line() });
        rest = match tag.chars().next() {
            Some('#') => tag.find("#}").map_or("", |end| &tag[end + 2..]),
            Some('{' | '%') => {
                let (operators, after) = operators(&tag[1..]);
                if operators > MAX_OPERATORS {
                    return refuse(&format!("{MAX_OPERATORS} operators in one tag"));
                }
                elif += usize::from(tag[1..].trim_start_matches(['-', '+', ' ']).starts_with("elif"));
                if elif > MAX_ELIF {
                    return refuse(&format!("{MAX_ELIF} elif tags"));
                }
                after
            }
            _ => tag,
        };
    }
    Ok(())
}

/// Counts what can nest up to the end of a tag; gives the count and what comes after.
fn operators(tag: &str) -> (usize, &str) {
    let bytes = tag.as_bytes();
    let (mut count, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match byte {
            b'}' | b'%' if next == Some(&b'}') => return (count, &tag[at + 2..]),
            b'\'' | b'"' => at = string_end(bytes, at),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'~' | b'.' | b'(' | b'[' | b'{' | b'|' | b'=' | b'<' | b'>' | b'!' => {
                count += 1;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let len = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
                let word = &tag[at..at + len];
                count += usize::from(matches!(word, "not" | "and" | "or" | "is" | "in" | "if" | "else"));
                at += len - 1;
            }
            _ => {}
        }
        at += 1;
    }
    (count, "")
}

/// Index of a string's closing quote, or of the last byte.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        if byte == quote {
            return at;
        }
        at += if byte == b'\\' { 2 } else { 1 };
    }
    bytes.len().saturating_sub(1).max(start)
}
