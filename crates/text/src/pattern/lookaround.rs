//! Expressions that need backtracking.

use std::fmt::Write;

use regex_syntax::hir::ClassUnicode;

use super::classes::Reason;
use super::syntax::{Anchor, Mode, Node};
use crate::budget::Budget;
use crate::error::{Result, TextError};

/// The largest number of backtracking steps of a match.
const BACKTRACKS: usize = 100_000;
/// The largest size of the compiled parts of an expression, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Repetitions up to this number have a constant cost.
const FEW: u32 = 16;
/// The degree that represents exponential cost.
const EXPONENTIAL: u32 = 64;

/// A backtracking matcher and its worst-case cost.
pub(crate) struct Lookaround {
    regex: fancy_regex::Regex,
    text: String,
    costs: Vec<Cost>,
    /// The characters that a match can begin with. `None` means that a match can be empty.
    first: Option<ClassUnicode>,
}

/// The worst-case cost of a branch: a power of the length of each run of the characters in its loops.
struct Cost {
    looped: ClassUnicode,
    degree: u32,
}

impl Lookaround {
    pub(super) fn new(text: &str, tree: &Node, budget: &Budget) -> Result<Self, Reason> {
        let mut source = String::from(r"\G(?:");
        write(tree, &mut source);
        source.push(')');
        // The compiler makes several parts of an expression. The limit applies to each.
        let limit = MAX_BYTES.min(usize::try_from(budget.left()).unwrap_or(MAX_BYTES));
        let charge = (source.len() as u64).saturating_mul(16).saturating_add(limit as u64 / 4);
        budget.charge(charge).map_err(|_| "all expressions together are too large".to_owned())?;
        let regex = fancy_regex::RegexBuilder::new(&source)
            .backtrack_limit(BACKTRACKS)
            .delegate_size_limit(limit)
            .build()
            .map_err(|error| error.to_string())?;
        let single = std::slice::from_ref(tree);
        let branches = if let Node::Alternate(branches) = tree { branches.as_slice() } else { single };
        let costs = branches.iter().map(|branch| {
            let mut looped = ClassUnicode::empty();
            let degree = degree(branch, false, &mut looped);
            Cost { looped, degree }
        });
        let (first, empty) = first(tree);
        Ok(Self { regex, text: text.to_owned(), costs: costs.collect(), first: (!empty).then_some(first) })
    }

    /// Charges the worst-case cost of finding all matches in a text.
    pub(super) fn pay(&self, text: &str, budget: &Budget) -> Result<()> {
        for cost in &self.costs {
            budget.charge(text.len() as u64)?;
            if cost.degree == 0 {
                continue;
            }
            let mut run = 0_u64;
            for c in text.chars() {
                if contains(&cost.looped, c) {
                    run += 1;
                } else {
                    budget.charge(cost.of(run))?;
                    run = 0;
                }
            }
            budget.charge(cost.of(run))?;
        }
        Ok(())
    }

    /// Returns the end of the match that begins at `at`.
    pub(super) fn match_at(&self, text: &str, at: usize) -> Result<Option<usize>> {
        if let Some(first) = &self.first {
            let next = text.get(at..).and_then(|rest| rest.chars().next());
            if !next.is_some_and(|c| contains(first, c)) {
                return Ok(None);
            }
        }
        match self.regex.find_from_pos(text, at) {
            Ok(found) => Ok(found.map(|found| found.end())),
            Err(error) => Err(TextError::Encode { reason: format!("the expression {:?}: {error}", self.text) }),
        }
    }
}

impl Cost {
    fn of(&self, run: u64) -> u64 {
        if self.degree >= EXPONENTIAL {
            return run.saturating_mul(1 << run.min(62));
        }
        run.saturating_pow(self.degree + 1)
    }
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    let ranges = class.ranges();
    let at = ranges.partition_point(|range| range.end() < c);
    ranges.get(at).is_some_and(|range| range.start() <= c)
}

/// Returns the number of loops whose lengths multiply in the cost of a match. Adds the classes inside loops to
/// `looped`.
fn degree(node: &Node, inside: bool, looped: &mut ClassUnicode) -> u32 {
    match node {
        Node::Class(class) => {
            if inside {
                looped.union(class);
            }
            0
        }
        Node::Anchor(_) => 0,
        // Parts that are not tried again do not multiply.
        Node::Concat(nodes) => {
            let (mut tried, mut once) = (0, 0);
            for node in nodes {
                let found = degree(node, inside, looped);
                if matches!(node, Node::Atomic(_) | Node::Repeat { mode: Mode::Possessive, .. }) {
                    once = once.max(found);
                } else {
                    tried += found;
                }
            }
            tried.max(once)
        }
        Node::Alternate(nodes) => nodes.iter().map(|node| degree(node, inside, looped)).max().unwrap_or(0),
        Node::Atomic(node) => degree(node, inside, looped),
        Node::Around { node, .. } if matches!(**node, Node::Class(_)) && !inside => 0,
        Node::Around { node, .. } => degree(node, inside, looped),
        Node::Repeat { node, max, .. } if max.is_some_and(|max| max <= FEW) => degree(node, inside, looped),
        Node::Repeat { node, .. } => {
            let found = degree(node, true, looped);
            if one_way(node) { found + 1 } else { EXPONENTIAL }
        }
    }
}

/// Returns `true` if an expression matches at a position in at most one way.
fn one_way(node: &Node) -> bool {
    match node {
        Node::Class(_) | Node::Anchor(_) | Node::Around { .. } | Node::Atomic(_) => true,
        Node::Concat(nodes) => nodes.iter().all(one_way),
        Node::Alternate(_) => false,
        Node::Repeat { node, min, max, mode } => one_way(node) && (*max == Some(*min) || *mode == Mode::Possessive),
    }
}

/// Returns the characters that a match begins with, and `true` if it may be empty.
fn first(node: &Node) -> (ClassUnicode, bool) {
    match node {
        Node::Class(class) => (class.clone(), false),
        Node::Anchor(_) | Node::Around { .. } => (ClassUnicode::empty(), true),
        Node::Atomic(node) => first(node),
        Node::Repeat { node, min, .. } => {
            let (class, empty) = first(node);
            (class, empty || *min == 0)
        }
        Node::Concat(nodes) => {
            let mut all = ClassUnicode::empty();
            for node in nodes {
                let (class, empty) = first(node);
                all.union(&class);
                if !empty {
                    return (all, false);
                }
            }
            (all, true)
        }
        Node::Alternate(nodes) => {
            nodes.iter().map(first).fold((ClassUnicode::empty(), false), |(mut all, some), one| {
                all.union(&one.0);
                (all, some || one.1)
            })
        }
    }
}

/// Appends an expression with all classes written out.
fn write(node: &Node, out: &mut String) {
    match node {
        Node::Class(class) if class.ranges().is_empty() => out.push_str("(?!)"),
        Node::Class(class) => {
            out.push('[');
            for range in class.ranges() {
                let (start, end) = (u32::from(range.start()), u32::from(range.end()));
                // Writing to a string cannot fail.
                let _ = write!(out, r"\x{{{start:X}}}-\x{{{end:X}}}");
            }
            out.push(']');
        }
        Node::Anchor(Anchor::TextStart) => out.push_str(r"\A"),
        Node::Anchor(Anchor::TextEnd) => out.push_str(r"\z"),
        Node::Anchor(Anchor::LineEnd) => out.push_str("(?m:$)"),
        Node::Concat(nodes) => nodes.iter().for_each(|node| group("(?:", node, out)),
        Node::Alternate(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                if at > 0 {
                    out.push('|');
                }
                group("(?:", node, out);
            }
        }
        Node::Atomic(node) => group("(?>", node, out),
        Node::Around { node, ahead, negative } => {
            let open = match (ahead, negative) {
                (true, false) => "(?=",
                (true, true) => "(?!",
                (false, false) => "(?<=",
                (false, true) => "(?<!",
            };
            group(open, node, out);
        }
        Node::Repeat { node, min, max, mode } => {
            let bounds = max.map_or(format!("{{{min},}}"), |max| format!("{{{min},{max}}}"));
            out.push_str(if *mode == Mode::Possessive { "(?>" } else { "(?:" });
            group("(?:", node, out);
            out.push_str(&bounds);
            out.push_str(if *mode == Mode::Lazy { "?)" } else { ")" });
        }
    }
}

fn group(open: &str, node: &Node, out: &mut String) {
    out.push_str(open);
    write(node, out);
    out.push(')');
}
