//! The lexer. White space follows Jinja2's rules (`jinja2/lexer.py`) with `trim_blocks` and `lstrip_blocks` set. The
//! trailing newline is dropped.

use crate::characters::is_space;
use crate::error::{Error, Result};
use crate::syntax::ast::Text;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Text between tags.
    Text(Text),
    /// `{{`
    EmitBegin,
    /// `}}`
    EmitEnd,
    /// `{%`
    TagBegin,
    /// `%}`
    TagEnd,
    Name(Text),
    Str(String),
    Int(i128),
    Float(f64),
    /// `+`, `//`, `==`, `[`, ...
    Symbol(&'static str),
}

/// The symbols, longer ones first.
const SYMBOLS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// The kinds of tags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Emit,
    Block,
    Comment,
}

/// Splits a template into tokens, each with its line.
pub(crate) fn tokens(source: &str) -> Result<Vec<(Token, u32)>> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer { source: &source, at: 0, line: 1, counted: 0, after_newline: true, output: Vec::new() };
    while lexer.at < source.len() {
        lexer.text()?;
    }
    Ok(lexer.output)
}

struct Lexer<'s> {
    source: &'s str,
    /// The byte index of the next character.
    at: usize,
    /// The line of the byte `counted`.
    line: u32,
    /// The byte index up to which lines have been counted.
    counted: usize,
    /// `true` at the start, and after a newline.
    after_newline: bool,
    output: Vec<(Token, u32)>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    /// Returns the line of a byte index. Indices must not decrease.
    fn line_at(&mut self, index: usize) -> u32 {
        if index > self.counted {
            let newlines = self.source.as_bytes()[self.counted..index].iter().filter(|&&b| b == b'\n').count();
            self.line = self.line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
            self.counted = index;
        }
        self.line
    }

    fn push(&mut self, token: Token, at: usize) {
        let line = self.line_at(at);
        self.output.push((token, line));
    }

    fn push_text(&mut self, text: &str, at: usize) {
        if !text.is_empty() {
            self.push(Token::Text(text.into()), at);
        }
    }

    fn advance(&mut self, bytes: usize) {
        if bytes > 0 {
            self.after_newline = self.source.as_bytes()[self.at + bytes - 1] == b'\n';
            self.at += bytes;
        }
    }

    /// Reads the text up to the next tag, and the tag.
    fn text(&mut self) -> Result<()> {
        let rest = self.rest();
        let tag = |at: &usize| match rest.as_bytes().get(at + 1) {
            Some(b'{') => Some((*at, Tag::Emit)),
            Some(b'%') => Some((*at, Tag::Block)),
            Some(b'#') => Some((*at, Tag::Comment)),
            _ => None,
        };
        let Some((at, kind)) = rest.match_indices('{').map(|(at, _)| at).find_map(|at| tag(&at)) else {
            self.push_text(rest, self.at);
            self.at = self.source.len();
            return Ok(());
        };
        let text = &rest[..at];
        let sign = rest.as_bytes().get(at + 2).copied().filter(|b| matches!(b, b'-' | b'+'));
        self.push_text(self.stripped(text, sign, kind), self.at);
        let begin = self.at + at;
        let inside = at + 2 + usize::from(sign.is_some());
        match kind {
            Tag::Comment => {
                self.advance(inside);
                self.comment(begin)
            }
            Tag::Block => {
                self.advance(inside);
                match raw_begin(self.rest()) {
                    Some(len) => {
                        self.advance(len);
                        self.raw(begin)
                    }
                    None => {
                        self.push(Token::TagBegin, begin);
                        self.expression(Tag::Block, begin)
                    }
                }
            }
            Tag::Emit => {
                self.advance(inside);
                self.push(Token::EmitBegin, begin);
                self.expression(Tag::Emit, begin)
            }
        }
    }

    /// Removes the white space that the following tag strips.
    fn stripped<'t>(&self, text: &'t str, sign: Option<u8>, kind: Tag) -> &'t str {
        match sign {
            Some(b'-') => text.trim_end_matches(is_space),
            Some(_) => text,
            None if kind == Tag::Emit => text,
            None => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let begins_line = line > 0 || self.after_newline;
                if begins_line && text[line..].chars().all(is_space) { &text[..line] } else { text }
            }
        }
    }

    /// Returns the length of the closing mark at the start of `rest`, including its sign and the white space that it
    /// strips.
    fn closing(&self, rest: &str, mark: &str, kind: Tag) -> Option<usize> {
        let (sign, body) = match rest.as_bytes().first() {
            Some(b'-') => (b'-', &rest[1..]),
            Some(b'+') if kind != Tag::Emit => (b'+', &rest[1..]),
            _ => (0, rest),
        };
        let after = body.strip_prefix(mark)?;
        let taken = match sign {
            b'-' => after.len() - after.trim_start_matches(is_space).len(),
            b'+' => 0,
            _ => usize::from(kind != Tag::Emit && after.starts_with('\n')),
        };
        Some(rest.len() - after.len() + taken)
    }

    fn comment(&mut self, begin: usize) -> Result<()> {
        let rest = self.rest();
        let Some(at) = rest.find("#}") else {
            return Err(Error::syntax("a comment is not closed", self.line_at(begin)));
        };
        let start = if at > 0 && matches!(rest.as_bytes()[at - 1], b'-' | b'+') { at - 1 } else { at };
        let len = self.closing(&rest[start..], "#}", Tag::Comment).unwrap_or(2);
        self.advance(start + len);
        Ok(())
    }

    /// Reads the text between `{% raw %}` and `{% endraw %}`.
    fn raw(&mut self, begin: usize) -> Result<()> {
        let rest = self.rest();
        for (at, _) in rest.match_indices("{%") {
            let inner = &rest[at + 2..];
            let sign = inner.as_bytes().first().copied().filter(|b| matches!(b, b'-' | b'+'));
            let word = inner[usize::from(sign.is_some())..].trim_start_matches(is_space);
            let Some(end) = word.strip_prefix("endraw").map(|end| end.trim_start_matches(is_space)) else { continue };
            let Some(len) = self.closing(end, "%}", Tag::Block) else { continue };
            self.push_text(self.stripped(&rest[..at], sign, Tag::Block), self.at);
            self.advance(rest.len() - end.len() + len);
            return Ok(());
        }
        Err(Error::syntax("a raw block is not closed", self.line_at(begin)))
    }

    /// Reads the tokens of a tag, including its end.
    fn expression(&mut self, kind: Tag, begin: usize) -> Result<()> {
        let (mark, end) = if kind == Tag::Block { ("%}", Token::TagEnd) } else { ("}}", Token::EmitEnd) };
        let mut open: Vec<&'static str> = Vec::new();
        loop {
            let skipped = self.rest().len() - self.rest().trim_start_matches(is_space).len();
            let rest = &self.rest()[skipped..];
            if open.is_empty()
                && let Some(len) = self.closing(rest, mark, kind)
            {
                self.push(end, self.at + skipped);
                self.advance(skipped + len);
                return Ok(());
            }
            let Some(first) = rest.chars().next() else {
                return Err(Error::syntax("a tag is not closed", self.line_at(begin)));
            };
            self.advance(skipped);
            let at = self.at;
            let (token, len) = match first {
                '\'' | '"' => string(rest).map_err(|error| error.at(self.line_at(at)))?,
                '0'..='9' => number(rest).map_err(|error| error.at(self.line_at(at)))?,
                c if c == '_' || c.is_alphanumeric() => {
                    let len = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
                    (Token::Name(rest[..len].into()), len)
                }
                c => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                    Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                    None => return Err(Error::syntax(format!("unexpected character {c:?}"), self.line_at(at))),
                },
            };
            if let Token::Symbol(symbol) = token {
                balance(&mut open, symbol).map_err(|error| error.at(self.line_at(at)))?;
            }
            self.push(token, at);
            self.advance(len);
        }
    }
}

/// Updates the stack of open brackets.
fn balance(open: &mut Vec<&'static str>, symbol: &'static str) -> Result<()> {
    let opening = match symbol {
        "(" | "[" | "{" => {
            open.push(symbol);
            return Ok(());
        }
        ")" => "(",
        "]" => "[",
        "}" => "{",
        _ => return Ok(()),
    };
    if open.pop() == Some(opening) { Ok(()) } else { Err(Error::syntax(format!("unexpected {symbol:?}"), 0)) }
}

/// Returns the length of `raw %}` at the start of `rest`, including the white space that it strips.
fn raw_begin(rest: &str) -> Option<usize> {
    let end = rest.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let after = match end.strip_prefix("-%}") {
        Some(after) => after.trim_start_matches(is_space),
        None => end.strip_prefix("%}")?,
    };
    Some(rest.len() - after.len())
}

/// Reads a quoted string. Returns it with its length in the source.
fn string(rest: &str) -> Result<(Token, usize)> {
    let quote = rest.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return Ok((Token::Str(unescaped(&rest[1..at])?), at + 1)),
            _ => {}
        }
    }
    Err(Error::syntax("a string is not closed", 0))
}

/// Decodes Python's escapes.
fn unescaped(text: &str) -> Result<String> {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    let mut high: Option<u32> = None;
    while let Some(at) = rest.find('\\') {
        output.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(c) = after.chars().next() else { break };
        let simple = |c| match c {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'v' => Some('\u{b}'),
            '\\' | '\'' | '"' => Some(c),
            _ => None,
        };
        let hex = |digits: usize| {
            let code = after.get(1..=digits).and_then(|text| u32::from_str_radix(text, 16).ok());
            code.ok_or_else(|| Error::syntax(format!("\\{c} needs {digits} hexadecimal digits"), 0))
        };
        let (code, len) = match c {
            '\n' => {
                rest = &after[1..];
                continue;
            }
            'x' => (Some(hex(2)?), 3),
            'u' => (Some(hex(4)?), 5),
            'U' => (Some(hex(8)?), 9),
            '0'..='7' => {
                let len = after.bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
                (u32::from_str_radix(&after[..len], 8).ok(), len)
            }
            other => match simple(other) {
                Some(character) => (Some(character.into()), 1),
                None => {
                    output.push('\\');
                    (Some(other.into()), other.len_utf8())
                }
            },
        };
        rest = &after[len..];
        let code = code.unwrap_or(0);
        // A surrogate pair encodes one character.
        match (high.take(), code) {
            (_, 0xD800..=0xDBFF) => high = Some(code),
            (Some(first), 0xDC00..=0xDFFF) => {
                let joined = 0x1_0000 + ((first - 0xD800) << 10) + (code - 0xDC00);
                output.push(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => output
                .push(char::from_u32(code).ok_or_else(|| Error::syntax("an escape does not encode a character", 0))?),
        }
    }
    output.push_str(rest);
    Ok(output)
}

/// Reads a number. Returns it with its length in the source.
fn number(rest: &str) -> Result<(Token, usize)> {
    let bytes = rest.as_bytes();
    let too_large = || Error::syntax("a number is too large", 0);
    let radix = match bytes.get(1) {
        Some(b'x' | b'X') => 16,
        Some(b'o' | b'O') => 8,
        Some(b'b' | b'B') => 2,
        _ => 10,
    };
    let digits = |from: usize, radix: u32| {
        let body = &rest[from..];
        body.find(|c: char| c != '_' && !c.is_digit(radix)).map_or(rest.len(), |len| from + len)
    };
    if bytes[0] == b'0' && radix != 10 && digits(2, radix) > 2 {
        let end = digits(2, radix);
        let value = i128::from_str_radix(&rest[2..end].replace('_', ""), radix).map_err(|_| too_large())?;
        return Ok((Token::Int(value), end));
    }
    let digit_at = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = digits(0, 10);
    let whole = end;
    if bytes.get(end) == Some(&b'.') && digit_at(end + 1) {
        end = digits(end + 1, 10);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digit_at(end + 1 + sign) {
            end = digits(end + 1 + sign, 10);
        }
    }
    let text = rest[..end].replace('_', "");
    if end == whole {
        Ok((Token::Int(text.parse().map_err(|_| too_large())?), end))
    } else {
        Ok((Token::Float(text.parse().map_err(|_| too_large())?), end))
    }
}
