//! An incremental JSON reader. It takes an object character by character and says which part of it each character is.

use super::BrokenCall;

/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// The part of the outermost object that a character belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// White space between the parts.
    Space,
    /// The opening brace.
    Open,
    /// A member's name, with its quotation marks.
    Key,
    /// The colon behind a name.
    Colon,
    /// A member's value, with everything inside it.
    Value,
    /// The comma behind a value.
    Comma,
    /// The closing brace.
    Close,
}

/// The parts that may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The object itself.
    Object,
    Value,
    /// A value or the end of the array.
    Element,
    Key,
    /// A key or the end of the object.
    Member,
    Colon,
    /// A comma or the end of the container.
    Comma,
    /// A character of a string.
    Text {
        is_key: bool,
    },
    /// The character behind a backslash.
    Escaped {
        is_key: bool,
    },
    /// Hexadecimal digits of `\u`.
    Hex {
        is_key: bool,
        left: u8,
    },
    /// The rest of a literal.
    Literal(&'static str),
    Number(Number),
    /// Nothing.
    End,
}

/// The part of a number that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

/// The state of the reader.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// `true` for each open object, `false` for each open array.
    open: Vec<bool>,
    next: Next,
    /// The number of characters read.
    read: usize,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), next: Next::Object, read: 0 }
    }

    /// Reads a character.
    pub(super) fn push(&mut self, c: char) -> Result<Part, BrokenCall> {
        self.read += 1;
        let outer = self.open.len() <= 1;
        // A number ends at the character behind it.
        if let Next::Number(number) = self.next {
            if let Some(number) = number.with(c) {
                self.next = Next::Number(number);
                return Ok(Part::Value);
            }
            if !number.is_whole() {
                return Err(self.unexpected(c, "a digit"));
            }
            self.next = Next::Comma;
        }
        let space = matches!(c, ' ' | '\t' | '\n' | '\r');
        let in_string = matches!(self.next, Next::Text { .. } | Next::Escaped { .. } | Next::Hex { .. });
        if space && !in_string && !matches!(self.next, Next::Literal(_)) {
            return Ok(if outer { Part::Space } else { Part::Value });
        }
        let part = match self.next {
            Next::Object | Next::End => Part::Space,
            Next::Key | Next::Member if outer => Part::Key,
            Next::Text { is_key: true } | Next::Escaped { is_key: true } | Next::Hex { is_key: true, .. } if outer => {
                Part::Key
            }
            Next::Colon if outer => Part::Colon,
            Next::Comma if outer => Part::Comma,
            _ => Part::Value,
        };
        match (self.next, c) {
            (Next::Object, '{') => {
                self.enter(true)?;
                return Ok(Part::Open);
            }
            (Next::Object, _) => return Err(self.unexpected(c, "an object")),
            (Next::Key | Next::Member, '"') => self.next = Next::Text { is_key: true },
            (Next::Member, '}') | (Next::Element, ']') => return Ok(self.leave(part)),
            (Next::Key, _) => return Err(self.unexpected(c, "a name in quotation marks")),
            (Next::Member, _) => return Err(self.unexpected(c, "a name in quotation marks or \"}\"")),
            (Next::Colon, ':') => self.next = Next::Value,
            (Next::Colon, _) => return Err(self.unexpected(c, "\":\"")),
            (Next::Comma, ',') => self.next = if self.in_object() { Next::Key } else { Next::Value },
            (Next::Comma, '}') if self.in_object() => return Ok(self.leave(part)),
            (Next::Comma, ']') if !self.in_object() => return Ok(self.leave(part)),
            (Next::Comma, _) => {
                let expected = if self.in_object() { "\",\" or \"}\"" } else { "\",\" or \"]\"" };
                return Err(self.unexpected(c, expected));
            }
            (Next::Value | Next::Element, _) => self.begin_value(c)?,
            (Next::Text { is_key }, '"') => self.next = if is_key { Next::Colon } else { Next::Comma },
            (Next::Text { is_key }, '\\') => self.next = Next::Escaped { is_key },
            (Next::Text { .. }, '\0'..='\x1f') => return Err(self.unexpected(c, "an escape for a control character")),
            (Next::Text { .. }, _) => {}
            (Next::Escaped { is_key }, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                self.next = Next::Text { is_key };
            }
            (Next::Escaped { is_key }, 'u') => self.next = Next::Hex { is_key, left: 4 },
            (Next::Escaped { .. }, _) => return Err(self.unexpected(c, "an escape of JSON")),
            (Next::Hex { is_key, left }, _) if c.is_ascii_hexdigit() => {
                self.next = if left == 1 { Next::Text { is_key } } else { Next::Hex { is_key, left: left - 1 } };
            }
            (Next::Hex { .. }, _) => return Err(self.unexpected(c, "a hexadecimal digit")),
            (Next::Literal(rest), _) => match rest.strip_prefix(c) {
                Some("") => self.next = Next::Comma,
                Some(rest) => self.next = Next::Literal(rest),
                None => return Err(self.unexpected(c, "true, false or null")),
            },
            (Next::Number(_), _) => return Err(self.unexpected(c, "a digit")),
            (Next::End, _) => return Err(self.unexpected(c, "nothing more")),
        }
        Ok(part)
    }

    fn begin_value(&mut self, c: char) -> Result<(), BrokenCall> {
        self.next = match c {
            '"' => Next::Text { is_key: false },
            '{' => return self.enter(true),
            '[' => return self.enter(false),
            't' => Next::Literal("rue"),
            'f' => Next::Literal("alse"),
            'n' => Next::Literal("ull"),
            '-' => Next::Number(Number::Minus),
            '0' => Next::Number(Number::Zero),
            '1'..='9' => Next::Number(Number::Digits),
            _ => return Err(self.unexpected(c, "a value")),
        };
        Ok(())
    }

    fn enter(&mut self, object: bool) -> Result<(), BrokenCall> {
        if self.open.len() == MAX_DEPTH {
            return Err(BrokenCall::TooDeep { limit: MAX_DEPTH });
        }
        self.open.push(object);
        self.next = if object { Next::Member } else { Next::Element };
        Ok(())
    }

    /// Leaves a container. `part` is that of its last character if it is not the outermost one.
    fn leave(&mut self, part: Part) -> Part {
        self.open.pop();
        if self.open.is_empty() {
            self.next = Next::End;
            return Part::Close;
        }
        self.next = Next::Comma;
        part
    }

    fn in_object(&self) -> bool {
        self.open.last().copied().unwrap_or_default()
    }

    fn unexpected(&self, found: char, expected: &'static str) -> BrokenCall {
        BrokenCall::NotJson { at: self.read, found, expected }
    }
}

impl Number {
    /// Returns the number with one more character, or `None` if the character does not continue it.
    fn with(self, c: char) -> Option<Self> {
        Some(match (self, c) {
            (Self::Minus, '0') => Self::Zero,
            (Self::Minus, '1'..='9') | (Self::Digits, '0'..='9') => Self::Digits,
            (Self::Zero | Self::Digits, '.') => Self::Point,
            (Self::Point | Self::Fraction, '0'..='9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, 'e' | 'E') => Self::Exponent,
            (Self::Exponent, '+' | '-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, '0'..='9') => Self::Power,
            _ => return None,
        })
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `true` if the text is one object.
    fn accepts(text: &str) -> bool {
        let mut scan = Scan::new();
        let mut last = None;
        for c in text.chars() {
            match scan.push(c) {
                Ok(Part::Space) if last == Some(Part::Close) => {}
                Ok(part) => last = Some(part),
                Err(_) => return false,
            }
        }
        last == Some(Part::Close)
    }

    #[test]
    fn accepts_what_serde_json_accepts() {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            " ",
            "\n",
            "\"a\"",
            "\"\\u12aF\"",
            "\"\\n\\/\"",
            "\"\\x\"",
            "\"\t\"",
            "0",
            "-",
            "1",
            "01",
            "1.5",
            "1.",
            ".5",
            "2e+",
            "2E",
            "true",
            "nul",
            "null",
            "false",
            "\"é\"",
            "{}",
            "[1,2]",
        ];
        let mut state = 1u64;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let mut accepted = 0;
        for _ in 0..40_000 {
            // Half of the values are put where one is expected, so that many texts are valid.
            let mut text = String::from("{\"k\":");
            for _ in 0..1 + random(3) {
                text.push_str(pieces[random(pieces.len())]);
            }
            text.push('}');
            let expected = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
            assert_eq!(accepts(&text), expected, "{text}");
            accepted += usize::from(expected);
        }
        assert!(accepted > 2000, "{accepted} valid texts");
    }

    #[test]
    fn tells_the_parts_of_the_outermost_object() {
        let text = "{ \"a\": [1, {\"b\" : 2}] ,\"c\":-3.5 }";
        let mut scan = Scan::new();
        let parts: String = text
            .chars()
            .map(|c| match scan.push(c) {
                Ok(Part::Space) => '_',
                Ok(Part::Open | Part::Close) => 'o',
                Ok(Part::Key) => 'k',
                Ok(Part::Colon) => ':',
                Ok(Part::Value) => 'v',
                Ok(Part::Comma) => ',',
                Err(_) => '!',
            })
            .collect();
        assert_eq!(parts, "o_kkk:_vvvvvvvvvvvvvv_,kkk:vvvv_o");
    }

    #[test]
    fn refuses_deep_nesting() {
        let mut scan = Scan::new();
        let result = "{\"a\":".chars().chain("[".repeat(MAX_DEPTH).chars()).try_for_each(|c| scan.push(c).map(drop));
        assert_eq!(result, Err(BrokenCall::TooDeep { limit: MAX_DEPTH }));
    }
}
