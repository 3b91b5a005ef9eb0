//! llama.cpp's GBNF as Lark.
//!
//! Source: `grammars/README.md` and `src/llama-grammar.cpp` of llama.cpp. A rule that does not contain itself is regular and
//! becomes a terminal, so that it is matched by one automaton; a rule that contains itself stays a rule. Terminals match as
//! much as they can, so a recursive grammar that relies on a shorter match accepts less than in llama.cpp.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::error::{GrammarError, Result};

/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 64;

/// The largest number of repetitions of a repetition, as in `a*?`.
const MAX_REPEATS: usize = 8;

/// A part of a rule.
#[derive(Debug)]
enum Node {
    Literal(String),
    /// A character class or `.`, as a regular expression.
    Class(String),
    Rule(String),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, usize, Option<usize>),
}

/// Translates a grammar. Its first rule is `root`.
///
/// # Errors
/// [`GrammarError::Invalid`] with the line.
pub(crate) fn to_lark(source: &str) -> Result<String> {
    let mut parser = Parser { rest: source, source };
    let mut rules: Vec<(String, Node)> = Vec::new();
    parser.skip(true);
    while !parser.rest.is_empty() {
        let name = parser.name()?;
        parser.skip(false);
        parser.expect("::=")?;
        parser.skip(true);
        if rules.iter().any(|rule| rule.0 == name) {
            return Err(parser.error(format!("the rule {name:?} again")));
        }
        let node = parser.choice(0, false)?;
        rules.push((name, node));
        parser.skip(true);
    }
    let numbers: HashMap<&str, usize> = rules.iter().enumerate().map(|(i, rule)| (rule.0.as_str(), i)).collect();
    let uses: Vec<Vec<usize>> = rules
        .iter()
        .map(|(name, node)| {
            let mut names = Vec::new();
            node.rules(&mut names);
            let number = |used: &str| {
                let unknown = || invalid(format!("the rule {name:?} uses {used:?}, which is not defined"));
                numbers.get(used).copied().ok_or_else(unknown)
            };
            names.into_iter().map(number).collect()
        })
        .collect::<Result<_>>()?;
    let Some(&root) = numbers.get("root") else { return Err(invalid("there is no rule \"root\"".to_owned())) };
    let recursive = recursive(&uses);
    let mut lark = String::from("%llguidance {}\n");
    let _ = writeln!(lark, "start: {}", rule_name(root, &recursive));
    for (i, (_, node)) in rules.iter().enumerate() {
        let mut body = String::new();
        node.write(&mut body, &|name| rule_name(numbers[name], &recursive));
        let _ = writeln!(lark, "{}: {body}", rule_name(i, &recursive));
    }
    Ok(lark)
}

/// Returns which rules contain themselves, or a rule that does.
fn recursive(uses: &[Vec<usize>]) -> Vec<bool> {
    // A rule is regular once all rules that it uses are.
    let mut regular = vec![false; uses.len()];
    loop {
        let mut changed = false;
        for (rule, used) in uses.iter().enumerate() {
            if !regular[rule] && used.iter().all(|&other| regular[other]) {
                regular[rule] = true;
                changed = true;
            }
        }
        if !changed {
            return regular.into_iter().map(|is_regular| !is_regular).collect();
        }
    }
}

/// Returns a rule's name in Lark: lower case for rules, upper case for terminals.
fn rule_name(number: usize, recursive: &[bool]) -> String {
    if recursive[number] { format!("rule_{number}") } else { format!("TERMINAL_{number}") }
}

fn invalid(reason: String) -> GrammarError {
    GrammarError::Invalid { what: "gbnf", reason }
}

impl Node {
    /// Collects the names of the rules inside.
    fn rules<'n>(&'n self, names: &mut Vec<&'n str>) {
        match self {
            Self::Rule(name) => names.push(name),
            Self::Sequence(nodes) | Self::Choice(nodes) => nodes.iter().for_each(|node| node.rules(names)),
            Self::Repeat(node, ..) => node.rules(names),
            Self::Literal(_) | Self::Class(_) => {}
        }
    }

    fn write(&self, out: &mut String, name: &dyn Fn(&str) -> String) {
        let join = |nodes: &[Self], between: &str, out: &mut String| {
            out.push('(');
            for (i, node) in nodes.iter().enumerate() {
                if i > 0 {
                    out.push_str(between);
                }
                node.write(out, name);
            }
            out.push(')');
        };
        match self {
            Self::Literal(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Self::Class(regex) => {
                let _ = write!(out, "/{regex}/");
            }
            Self::Rule(rule) => out.push_str(&name(rule)),
            Self::Sequence(nodes) if nodes.is_empty() => out.push_str("\"\""),
            Self::Sequence(nodes) => join(nodes, " ", out),
            Self::Choice(nodes) => join(nodes, " | ", out),
            Self::Repeat(node, least, most) => {
                out.push('(');
                node.write(out, name);
                out.push(')');
                match (least, most) {
                    (0, None) => out.push('*'),
                    (1, None) => out.push('+'),
                    (0, Some(1)) => out.push('?'),
                    (least, None) => {
                        let _ = write!(out, "{{{least},}}");
                    }
                    (least, Some(most)) => {
                        let _ = write!(out, "{{{least},{most}}}");
                    }
                }
            }
        }
    }
}

struct Parser<'s> {
    source: &'s str,
    rest: &'s str,
}

impl Parser<'_> {
    fn error(&self, found: String) -> GrammarError {
        let before = &self.source[..self.source.len() - self.rest.len()];
        invalid(format!("line {}: {found}", before.matches('\n').count() + 1))
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T> {
        let found = self.rest.chars().next().map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"));
        Err(self.error(format!("found {found}, expected {expected}")))
    }

    /// Skips white space and comments; newlines only if `lines`.
    fn skip(&mut self, lines: bool) {
        loop {
            self.rest =
                self.rest.trim_start_matches(|c: char| matches!(c, ' ' | '\t') || (lines && matches!(c, '\n' | '\r')));
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
        }
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.unexpected(&format!("{text:?}")),
        }
    }

    fn name(&mut self) -> Result<String> {
        let end =
            self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return self.unexpected("a rule's name");
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// Parses alternatives. Inside parentheses, they may be on several lines.
    fn choice(&mut self, depth: usize, inside: bool) -> Result<Node> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("parentheses are nested deeper than {MAX_DEPTH}")));
        }
        let mut all = vec![self.sequence(depth, inside)?];
        while let Some(rest) = self.rest.strip_prefix('|') {
            self.rest = rest;
            self.skip(true);
            all.push(self.sequence(depth, inside)?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Node::Choice(all) })
    }

    fn sequence(&mut self, depth: usize, inside: bool) -> Result<Node> {
        let mut nodes = Vec::new();
        loop {
            self.skip(inside);
            let node = match self.rest.chars().next() {
                Some('"') => Node::Literal(self.literal()?),
                Some('[') => Node::Class(self.class()?),
                Some('.') => {
                    self.rest = &self.rest[1..];
                    Node::Class("(?s:.)".to_owned())
                }
                Some('(') => {
                    self.rest = &self.rest[1..];
                    let node = self.choice(depth + 1, true)?;
                    self.skip(true);
                    self.expect(")")?;
                    node
                }
                Some(c) if c.is_ascii_alphanumeric() => Node::Rule(self.name()?),
                Some('|' | ')' | '\n' | '\r') | None => {
                    // An alternative may continue on the next line.
                    let ahead = self.rest.trim_start();
                    if !inside && ahead.starts_with('|') {
                        self.rest = ahead;
                    }
                    return Ok(Node::Sequence(nodes));
                }
                Some(_) => return self.unexpected("a string, a class, a rule, or parentheses"),
            };
            nodes.push(self.repeated(node, inside)?);
        }
    }

    fn repeated(&mut self, node: Node, inside: bool) -> Result<Node> {
        let mut node = node;
        for _ in 0..=MAX_REPEATS {
            self.skip(inside);
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let Some(end) = self.rest.find('}') else { return self.unexpected("\"}\" behind \"{\"") };
                    let numbers = &self.rest[1..end];
                    let number = |text: &str| text.trim().parse::<u16>().ok().map(usize::from);
                    let bounds = match numbers.split_once(',') {
                        None => number(numbers).map(|count| (count, Some(count))),
                        Some((least, most)) if most.trim().is_empty() => number(least).map(|least| (least, None)),
                        Some((least, most)) => number(least).zip(number(most).map(Some)),
                    };
                    let Some(bounds) = bounds.filter(|(least, most)| most.is_none_or(|most| most >= *least)) else {
                        return self.unexpected("{n}, {n,} or {n,m} with numbers up to 65535");
                    };
                    self.rest = &self.rest[end..];
                    bounds
                }
                _ => return Ok(node),
            };
            self.rest = &self.rest[1..];
            node = Node::Repeat(Box::new(node), least, most);
        }
        Err(self.error(format!("more than {MAX_REPEATS} repetitions of each other")))
    }

    /// Parses a character of a string or class, with its escape.
    fn character(&mut self) -> Result<char> {
        let Some(c) = self.rest.chars().next() else { return self.unexpected("a character") };
        self.rest = &self.rest[c.len_utf8()..];
        if c != '\\' {
            return Ok(c);
        }
        let Some(escape) = self.rest.chars().next() else { return self.unexpected("an escape") };
        self.rest = &self.rest[escape.len_utf8()..];
        let digits = match escape {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            '\\' | '"' | '[' | ']' | '-' | '^' | '/' | '.' => return Ok(escape),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return self.unexpected("an escape: n, r, t, \\, \", [, ], x, u, U"),
        };
        let code = self.rest.get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        let Some(code) = code else { return self.unexpected("hexadecimal digits of a character") };
        self.rest = &self.rest[digits..];
        Ok(code)
    }

    fn literal(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut text = String::new();
        while !self.rest.starts_with('"') {
            if self.rest.starts_with('\n') {
                return self.unexpected("the end of the string");
            }
            text.push(self.character()?);
        }
        self.rest = &self.rest[1..];
        Ok(text)
    }

    /// Parses a class and returns it as a regular expression.
    fn class(&mut self) -> Result<String> {
        self.expect("[")?;
        let mut regex = String::from("[");
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            regex.push('^');
        }
        let mut is_empty = true;
        while !self.rest.starts_with(']') {
            is_empty = false;
            let first = self.character()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range {
                self.rest = &self.rest[1..];
                self.character()?
            } else {
                first
            };
            if last < first {
                return Err(self.error(format!("the range {first:?} to {last:?} is empty")));
            }
            let _ = write!(regex, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(first), u32::from(last));
        }
        self.rest = &self.rest[1..];
        if is_empty {
            return Err(self.error("an empty class".to_owned()));
        }
        Ok(regex + "]")
    }
}
