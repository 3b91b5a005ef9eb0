//! Oniguruma's regular expressions, as the `tokenizers` library reads them in Python. Source: Oniguruma's `doc/RE`
//! and `regparse.c` (`OnigSyntaxOniguruma`).
//!
//! Expressions become a tree with every character class spelled out, so that no other engine's idea of a class, an
//! anchor or a quantifier matters. An expression that would need captures is refused by name.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::classes::{self, single};
use crate::budget::Budget;

/// Longest expression, in bytes.
const MAX_BYTES: usize = 32 << 10;
/// Deepest nesting.
const MAX_DEPTH: usize = 60;
/// Largest number in a quantifier.
const MAX_REPEAT: u32 = 1000;

/// How a repetition gives back what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Greedy,
    Lazy,
    Possessive,
}

/// A place between characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    TextStart,
    TextEnd,
    /// Before a newline, or at the end of the text.
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
    /// Matches once and is not tried again.
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

    /// A word boundary, or a place that is none.
    fn boundary(is: bool) -> Self {
        let place = |before: bool, after: bool| {
            let word = || Self::Class(classes::word());
            Self::Concat(vec![Self::around(word(), false, !before), Self::around(word(), true, !after)])
        };
        Self::Alternate(vec![place(true, !is), place(false, is)])
    }
}

/// Options that an expression may switch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    pub ignore_case: bool,
    pub dot_all: bool,
    pub extended: bool,
}

/// What an expression cannot be, as a reason for the message.
pub(super) type Reason = String;

/// Reads an expression; `budget` pays for the classes that it spells out.
pub(super) fn parse(text: &str, budget: &Budget) -> Result<Node, Reason> {
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes, at most {MAX_BYTES} are allowed", text.len()));
    }
    let mut parser = Parser { rest: text, budget, depth: 0 };
    let node = parser.alternate(Flags::default())?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err("a closing parenthesis without an opening one".to_owned()),
    }
}

/// Reads from the front of an expression.
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

    /// The text up to `end`, which is passed over.
    fn until(&mut self, end: char) -> Result<&'a str, Reason> {
        let (found, rest) = self.rest.split_once(end).ok_or_else(|| format!("`{end}` is missing"))?;
        self.rest = rest;
        Ok(found)
    }

    /// Pays for a class, and gives it back.
    pub(super) fn paid(&self, class: ClassUnicode) -> Result<ClassUnicode, Reason> {
        let bytes = 64 + 16 * class.ranges().len();
        self.budget.charge(bytes as u64).map_err(|_| "its character classes are too large".to_owned())?;
        Ok(class)
    }

    /// Enters a group or class.
    pub(super) fn enter(&mut self) -> Result<(), Reason> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(format!("it is nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
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
        // The literal before, for what case folding makes of two.
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

    /// A character that stands for itself.
    fn literal(&mut self, flags: Flags) -> Result<Option<char>, Reason> {
        let Some(c) = self.peek() else { return Ok(None) };
        if c == '\\' {
            let escape = self.rest.get(1..).unwrap_or_default();
            let named = escape.starts_with(|c: char| "AzZbBdDwWsShHpPRXKGkgyYNO".contains(c));
            return if named { Ok(None) } else { self.next().map(|_| self.escaped()).transpose() };
        }
        if "*+?".contains(c) {
            return Err(format!("nothing before the quantifier `{c}`"));
        }
        if ".[(^$".contains(c) || flags.extended && c.is_whitespace() {
            return Ok(None);
        }
        Ok(self.next())
    }

    /// The character of an escape that names one; the backslash is passed.
    pub(super) fn escaped(&mut self) -> Result<char, Reason> {
        let c = self.next().ok_or("a backslash at the end")?;
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
                // `\xHH` is a byte, which is a character below 0x80 only.
                let found = found.filter(|found| c == 'u' || found.is_ascii()).ok_or_else(wrong)?;
                self.rest = self.rest.get(digits.len()..).unwrap_or_default();
                Ok(found)
            }
            c if c.is_ascii_alphanumeric() => Err(wrong()),
            c => Ok(c),
        }
    }

    /// `(?i)` and the like: the options that hold up to the end of the group.
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
            // The end of a line and not of the text only; the beginning likewise, but not behind the last newline.
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
            _ => Err("it ends too early".to_owned()),
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
            return Err("a closing parenthesis is missing".to_owned());
        }
        Ok(if atomic { Node::Atomic(Box::new(node)) } else { wrap(node, kind) })
    }

    /// Applies the quantifiers behind an atom; whether there is one.
    fn quantified(&mut self, atom: Node) -> Result<(Node, bool), Reason> {
        let Some((min, max, interval)) = self.quantifier()? else { return Ok((atom, false)) };
        if matches!(atom, Node::Around { .. } | Node::Anchor(_)) {
            return Err("a repeated assertion".to_owned());
        }
        let repeat = |node, min, max, mode| Node::Repeat { node: Box::new(node), min, max, mode };
        let node = if interval {
            // Behind an interval, `+` repeats it rather than making it possessive, and `?` behind `{n}` makes it optional.
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
            Some(_) => Err("a quantifier behind a quantifier".to_owned()),
        }
    }

    /// A quantifier, and whether it is an interval.
    fn quantifier(&mut self) -> Result<Option<(u32, Option<u32>, bool)>, Reason> {
        match self.peek() {
            Some('*') => self.next().map_or(Ok(None), |_| Ok(Some((0, None, false)))),
            Some('+') => self.next().map_or(Ok(None), |_| Ok(Some((1, None, false)))),
            Some('?') => self.next().map_or(Ok(None), |_| Ok(Some((0, Some(1), false)))),
            Some('{') => self.interval(),
            _ => Ok(None),
        }
    }

    /// `{n}`, `{n,}`, `{,m}` or `{n,m}`; anything else is a brace that stands for itself.
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
            return Err(format!("a quantifier above {MAX_REPEAT}"));
        }
        let min = min.unwrap_or(0);
        if max.is_some_and(|max| max < min) {
            return Err(format!("the quantifier {{{inside}}}"));
        }
        self.rest = rest;
        Ok(Some((min, max, true)))
    }
}

/// Options after `i`, `m`, `x` and `-`. `m` lets a dot match newlines; `s` is another dialect's.
fn switched(mut flags: Flags, options: &str) -> Result<Flags, Reason> {
    let mut on = true;
    for option in options.chars() {
        match option {
            '-' => on = false,
            'i' => flags.ignore_case = on,
            'm' => flags.dot_all = on,
            'x' => flags.extended = on,
            other => return Err(format!("the group `(?{other}`")),
        }
    }
    Ok(flags)
}

/// A range of characters.
pub(super) fn range(low: char, high: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(low, high)])
}
