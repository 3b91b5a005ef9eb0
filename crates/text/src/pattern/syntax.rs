//! The parser of Oniguruma's regular expressions, as the `tokenizers` library uses them in Python. Source: Oniguruma's
//! `doc/RE` and `regparse.c` (`OnigSyntaxOniguruma`).
//!
//! The tree has every character class written out, so that it does not depend on another engine's definition of a
//! class, an anchor or a quantifier. Expressions that need captures are refused.

use regex_syntax::hir::ClassUnicode;

use super::classes::{self, Reason, single};
use crate::budget::Budget;

/// The longest expression, in bytes.
const MAX_BYTES: usize = 32 << 10;
/// The deepest nesting.
const MAX_DEPTH: usize = 60;
/// The largest number in a quantifier.
const MAX_REPEAT: u32 = 1000;

/// The backtracking behaviour of a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Greedy,
    Lazy,
    Possessive,
}

/// A position between characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    TextStart,
    TextEnd,
    /// The position before a newline, or at the end of the text.
    LineEnd,
}

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Class(ClassUnicode),
    Anchor(Anchor),
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
    Repeat {
        node: Box<Node>,
        min: u32,
        max: Option<u32>,
        mode: Mode,
    },
    /// A group that is not tried again after it has matched.
    Atomic(Box<Node>),
    Around {
        node: Box<Node>,
        ahead: bool,
        negative: bool,
    },
}

impl Node {
    fn around(node: Self, ahead: bool, negative: bool) -> Self {
        Self::Around { node: Box::new(node), ahead, negative }
    }

    /// Makes a word boundary, or the negation of one.
    fn boundary(is: bool) -> Self {
        let place = |before: bool, after: bool| {
            let word = || Self::Class(classes::word());
            Self::Concat(vec![Self::around(word(), false, !before), Self::around(word(), true, !after)])
        };
        Self::Alternate(vec![place(true, !is), place(false, is)])
    }
}

/// Options that an expression can set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    pub ignore_case: bool,
    pub dot_all: bool,
    pub extended: bool,
}

/// Parses an expression. `budget` pays for its character classes.
pub(super) fn parse(text: &str, budget: &Budget) -> Result<Node, Reason> {
    if text.len() > MAX_BYTES {
        return Err(format!("found {} bytes, expected at most {MAX_BYTES}", text.len()));
    }
    let mut parser = Parser { rest: text, budget, depth: 0 };
    let node = parser.alternate(Flags::default())?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err("closing parenthesis without an opening one".to_owned()),
    }
}

/// The parser state.
pub(super) struct Parser<'a> {
    pub(super) rest: &'a str,
    budget: &'a Budget,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Returns the text up to `end`, and skips `end`.
    fn until(&mut self, end: char) -> Result<&'a str, Reason> {
        let (found, rest) = self.rest.split_once(end).ok_or_else(|| format!("`{end}` is missing"))?;
        self.rest = rest;
        Ok(found)
    }

    /// Charges a class and returns it.
    pub(super) fn paid(&self, class: ClassUnicode) -> Result<ClassUnicode, Reason> {
        let bytes = 64 + 16 * class.ranges().len();
        self.budget.charge(bytes as u64).map_err(|_| "its character classes are too large".to_owned())?;
        Ok(class)
    }

    /// Enters a group or class.
    pub(super) fn enter(&mut self) -> Result<(), Reason> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(format!("nested deeper than {MAX_DEPTH} levels")) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    fn alternate(&mut self, flags: Flags) -> Result<Node, Reason> {
        self.enter()?;
        let mut branches = vec![self.concat(flags)?];
        while self.take("|") {
            branches.push(self.concat(flags)?);
        }
        self.leave();
        Ok(if branches.len() == 1 { branches.remove(0) } else { Node::Alternate(branches) })
    }

    fn concat(&mut self, flags: Flags) -> Result<Node, Reason> {
        let mut nodes = Vec::new();
        // The preceding literal, for pairs that case folding combines.
        let mut previous = None;
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            if flags.extended && c.is_whitespace() {
                self.next();
                continue;
            }
            if flags.extended && c == '#' {
                self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
                continue;
            }
            if c == '(' && self.take("(?#") {
                self.until(')')?;
                continue;
            }
            if let Some(flags) = self.isolated_flags(flags)? {
                nodes.push(self.alternate(flags)?);
                break;
            }
            let literal = self.literal(flags)?;
            let atom = match literal {
                Some(c) => {
                    classes::check_fold(previous, c, flags.ignore_case)?;
                    Node::Class(self.paid(classes::literal(c, flags.ignore_case))?)
                }
                None => self.atom(flags)?,
            };
            let (node, repeated) = self.quantified(atom)?;
            previous = literal.filter(|_| !repeated);
            nodes.push(node);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Concat(nodes) })
    }

    /// Parses a literal character.
    fn literal(&mut self, flags: Flags) -> Result<Option<char>, Reason> {
        let Some(c) = self.peek() else { return Ok(None) };
        if c == '\\' {
            let escape = self.rest.get(1..).unwrap_or_default();
            let named = escape.starts_with(|c: char| "AzZbBdDwWsShHpPRXKGkgyYNO".contains(c));
            return if named { Ok(None) } else { self.next().map(|_| self.escaped()).transpose() };
        }
        if "*+?".contains(c) {
            return Err(format!("no expression before the quantifier `{c}`"));
        }
        if ".[(^$".contains(c) || flags.extended && c.is_whitespace() {
            return Ok(None);
        }
        Ok(self.next())
    }

    /// Parses the escape of a character. The backslash has been read.
    pub(super) fn escaped(&mut self) -> Result<char, Reason> {
        let c = self.next().ok_or("backslash at the end")?;
        let hex = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        let wrong = || format!("the escape `\\{c}` is not supported");
        match c {
            't' => Ok('\t'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            'f' => Ok('\u{c}'),
            'v' => Ok('\u{b}'),
            'a' => Ok('\u{7}'),
            'e' => Ok('\u{1b}'),
            'x' if self.take("{") => hex(self.until('}')?.trim()).ok_or_else(wrong),
            'x' | 'u' => {
                let digits = self.rest.get(..if c == 'x' { 2 } else { 4 }).ok_or_else(wrong)?;
                let found = digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| hex(digits)).flatten();
                // `\xHH` is a byte. It is a character only below 0x80.
                let found = found.filter(|found| c == 'u' || found.is_ascii()).ok_or_else(wrong)?;
                self.rest = self.rest.get(digits.len()..).unwrap_or_default();
                Ok(found)
            }
            c if c.is_ascii_alphanumeric() => Err(wrong()),
            c => Ok(c),
        }
    }

    /// Parses options such as `(?i)` that apply up to the end of the group.
    fn isolated_flags(&mut self, flags: Flags) -> Result<Option<Flags>, Reason> {
        let Some(inside) = self.rest.strip_prefix("(?").and_then(|rest| rest.split_once(')')) else { return Ok(None) };
        let is_flags = |c: char| "imxs-".contains(c);
        if inside.0.is_empty() || !inside.0.chars().all(is_flags) {
            return Ok(None);
        }
        self.rest = inside.1;
        switched(flags, inside.0).map(Some)
    }

    fn atom(&mut self, flags: Flags) -> Result<Node, Reason> {
        match self.next() {
            Some('.') => Ok(Node::Class(classes::dot(flags.dot_all))),
            // `$` also matches before each newline. `^` matches after each newline except the last.
            Some('$') => Ok(Node::Anchor(Anchor::LineEnd)),
            Some('^') => Ok(Node::Alternate(vec![
                Node::Anchor(Anchor::TextStart),
                Node::Concat(vec![
                    Node::around(Node::Class(single('\n')), false, false),
                    Node::around(Node::Anchor(Anchor::TextEnd), true, true),
                ]),
            ])),
            Some('[') => {
                let class = self.bracket(flags)?;
                Ok(Node::Class(self.paid(class)?))
            }
            Some('(') => self.group(flags),
            Some('\\') => self.named_escape(flags),
            _ => Err("unexpected end".to_owned()),
        }
    }

    fn named_escape(&mut self, flags: Flags) -> Result<Node, Reason> {
        match self.peek() {
            Some('A') => Ok(self.anchor(Anchor::TextStart)),
            Some('z') => Ok(self.anchor(Anchor::TextEnd)),
            Some('Z') => {
                self.next();
                let newline = Box::new(Node::Class(single('\n')));
                let newline = Node::Repeat { node: newline, min: 0, max: Some(1), mode: Mode::Greedy };
                Ok(Node::around(Node::Concat(vec![newline, Node::Anchor(Anchor::TextEnd)]), true, false))
            }
            Some(c @ ('b' | 'B')) => {
                self.next();
                Ok(Node::boundary(c == 'b'))
            }
            _ => {
                let class = self.class_escape(flags)?;
                Ok(Node::Class(self.paid(class)?))
            }
        }
    }

    fn anchor(&mut self, anchor: Anchor) -> Node {
        self.next();
        Node::Anchor(anchor)
    }

    fn group(&mut self, flags: Flags) -> Result<Node, Reason> {
        let wrap = |node: Node, kind: Option<(bool, bool)>| match kind {
            Some((ahead, negative)) => Node::around(node, ahead, negative),
            None => node,
        };
        let mut inner = flags;
        let mut atomic = false;
        let mut kind = None;
        if self.take("?") {
            if self.take(":") {
            } else if self.take("=") {
                kind = Some((true, false));
            } else if self.take("!") {
                kind = Some((true, true));
            } else if self.take("<=") {
                kind = Some((false, false));
            } else if self.take("<!") {
                kind = Some((false, true));
            } else if self.take(">") {
                atomic = true;
            } else if self.take("<") {
                self.until('>')?;
            } else {
                let options = self.until(':')?;
                inner = switched(flags, options)?;
            }
        }
        let node = self.alternate(inner)?;
        if !self.take(")") {
            return Err("closing parenthesis is missing".to_owned());
        }
        Ok(if atomic { Node::Atomic(Box::new(node)) } else { wrap(node, kind) })
    }

    /// Applies the quantifiers after an atom. Returns `true` if there are any.
    fn quantified(&mut self, atom: Node) -> Result<(Node, bool), Reason> {
        let Some((min, max, interval)) = self.quantifier()? else { return Ok((atom, false)) };
        if matches!(atom, Node::Around { .. } | Node::Anchor(_)) {
            return Err("repeated assertions are not supported".to_owned());
        }
        let repeat = |node, min, max, mode| Node::Repeat { node: Box::new(node), min, max, mode };
        let node = if interval {
            // After an interval, `+` repeats it instead of making it possessive, and `?` after `{n}` makes it optional.
            let exact = max == Some(min);
            if self.take("+") {
                repeat(repeat(atom, min, max, Mode::Greedy), 1, None, Mode::Greedy)
            } else if self.take("?") {
                if exact {
                    repeat(repeat(atom, min, max, Mode::Greedy), 0, Some(1), Mode::Greedy)
                } else {
                    repeat(atom, min, max, Mode::Lazy)
                }
            } else {
                repeat(atom, min, max, Mode::Greedy)
            }
        } else {
            let mode = if self.take("?") {
                Mode::Lazy
            } else if self.take("+") {
                Mode::Possessive
            } else {
                Mode::Greedy
            };
            repeat(atom, min, max, mode)
        };
        match self.quantifier()? {
            None => Ok((node, true)),
            Some(_) => Err("consecutive quantifiers are not supported".to_owned()),
        }
    }

    /// Parses a quantifier. The flag is `true` for an interval.
    fn quantifier(&mut self) -> Result<Option<(u32, Option<u32>, bool)>, Reason> {
        match self.peek() {
            Some('*') => self.next().map_or(Ok(None), |_| Ok(Some((0, None, false)))),
            Some('+') => self.next().map_or(Ok(None), |_| Ok(Some((1, None, false)))),
            Some('?') => self.next().map_or(Ok(None), |_| Ok(Some((0, Some(1), false)))),
            Some('{') => self.interval(),
            _ => Ok(None),
        }
    }

    /// Parses `{n}`, `{n,}`, `{,m}` or `{n,m}`. Any other brace is a literal.
    fn interval(&mut self) -> Result<Option<(u32, Option<u32>, bool)>, Reason> {
        let Some((inside, rest)) = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Ok(None);
        };
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok());
        let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
        let (Some(min), Some(max)) = (number(low), number(high)) else { return Ok(None) };
        if min.is_none() && max.is_none() {
            return Ok(None);
        }
        if [min, max].into_iter().flatten().any(|n| n > MAX_REPEAT) {
            return Err(format!("quantifiers above {MAX_REPEAT} are not supported"));
        }
        let min = min.unwrap_or(0);
        if max.is_some_and(|max| max < min) {
            return Err(format!("the quantifier {{{inside}}} is not supported"));
        }
        self.rest = rest;
        Ok(Some((min, max, true)))
    }
}

/// Sets the options `i`, `m` and `x`, or clears those after `-`. `m` makes the dot match newlines. `s` belongs to
/// another dialect.
fn switched(mut flags: Flags, options: &str) -> Result<Flags, Reason> {
    let mut on = true;
    for option in options.chars() {
        match option {
            '-' => on = false,
            'i' => flags.ignore_case = on,
            'm' => flags.dot_all = on,
            'x' => flags.extended = on,
            other => return Err(format!("the group `(?{other}` is not supported")),
        }
    }
    Ok(flags)
}
