//! Expressions that run on an automaton in linear time.

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, ClassUnicode, Hir, Look, Repetition};

use super::classes::Reason;
use super::syntax::{Anchor, Mode, Node};
use crate::budget::Budget;
use crate::error::{Result, TextError};

/// The size of the automaton's cache for one expression, in bytes. The automaton discards its states beyond that.
const CACHE_BYTES: usize = 4 << 20;
/// The largest size of a compiled expression, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// The number of bytes of text between two checks of the budget.
const STRIDE: usize = 1024;
/// The number of bytes touched per byte of a state. Finding a state visits the positions that it represents.
const WORK_PER_STATE_BYTE: u64 = 4;

/// The branches of an expression as one automaton. The first branch that matches counts.
pub(crate) struct Linear {
    dfa: DFA,
    /// For each branch, `true` if its last character is lookahead.
    looks_ahead: Vec<bool>,
    /// The caches that are not in use.
    caches: Mutex<Vec<Cache>>,
}

impl Linear {
    /// Builds the automaton. Returns `None` if the expression cannot run on one.
    pub(super) fn new(tree: &Node, budget: &Budget) -> Result<Option<Self>, Reason> {
        let single = std::slice::from_ref(tree);
        let branches = if let Node::Alternate(branches) = tree { branches.as_slice() } else { single };
        let (mut expressions, mut looks_ahead) = (Vec::new(), Vec::new());
        for branch in branches {
            let Some(parts) = branch_of(branch) else { return Ok(None) };
            for (expression, looks) in parts {
                expressions.push(expression);
                looks_ahead.push(looks);
            }
        }
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_BYTES.min(usize::try_from(budget.left()).unwrap_or(MAX_BYTES))));
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_many_from_hir(&expressions)
            .map_err(|error| error.to_string())?;
        budget.charge(nfa.memory_usage() as u64).map_err(|_| "all expressions together are too large".to_owned())?;
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())?;
        Ok(Some(Self { dfa, looks_ahead, caches: Mutex::new(Vec::new()) }))
    }

    /// Runs `work` with a cache.
    pub(super) fn with_cache<T>(&self, work: impl FnOnce(&mut Cache) -> T) -> T {
        let free = self.caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut cache = free.unwrap_or_else(|| self.dfa.create_cache());
        let result = work(&mut cache);
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        result
    }

    /// Returns the end of the match that begins at `at`.
    pub(super) fn match_at(&self, cache: &mut Cache, text: &str, at: usize, budget: &Budget) -> Result<Option<usize>> {
        let states = States::of(cache);
        let bytes = text.as_bytes();
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let mut state = self.dfa.start_state_forward(cache, &input).map_err(failed)?;
        let mut found = None;
        let mut pos = at;
        let mut paid = at;
        loop {
            let Some(&byte) = bytes.get(pos) else {
                state = self.dfa.next_eoi_state(cache, state).map_err(failed)?;
                found = self.branch(cache, state, pos).or(found);
                break;
            };
            state = self.dfa.next_state(cache, state, byte).map_err(failed)?;
            if state.is_tagged() {
                // The automaton reports a match one byte late.
                found = self.branch(cache, state, pos).or(found);
                if state.is_dead() {
                    break;
                }
            }
            pos += 1;
            if pos - paid == STRIDE {
                budget.charge(STRIDE as u64)?;
                paid = pos;
            }
        }
        budget.charge((pos - paid + 1) as u64)?;
        states.pay(cache, budget)?;
        Ok(found.map(|(branch, end)| {
            let looks = self.looks_ahead.get(branch).copied().unwrap_or(false);
            let last = text.get(at..end).and_then(|found| found.chars().next_back());
            if looks { end - last.map_or(0, char::len_utf8) } else { end }
        }))
    }

    /// Returns the branch that matches, and the end of its match.
    fn branch(&self, cache: &Cache, state: LazyStateID, end: usize) -> Option<(usize, usize)> {
        state.is_match().then(|| (self.dfa.match_pattern(cache, state, 0).as_usize(), end))
    }
}

/// The size of a cache at some time.
struct States {
    bytes: usize,
    clears: usize,
}

impl States {
    fn of(cache: &Cache) -> Self {
        Self { bytes: cache.memory_usage(), clears: cache.clear_count() }
    }

    /// Charges the states that were added since.
    fn pay(&self, cache: &Cache, budget: &Budget) -> Result<()> {
        let cleared = cache.clear_count() - self.clears;
        let grown = (cache.memory_usage() + cleared * CACHE_BYTES).saturating_sub(self.bytes);
        budget.charge_each(grown, WORK_PER_STATE_BYTE)
    }
}

fn failed(error: impl std::fmt::Display) -> TextError {
    TextError::Encode { reason: error.to_string() }
}

/// Converts a branch to expressions without lookaround. The flag is `true` if the last character is lookahead.
fn branch_of(branch: &Node) -> Option<Vec<(Hir, bool)>> {
    let single = std::slice::from_ref(branch);
    let nodes = if let Node::Concat(nodes) = branch { nodes.as_slice() } else { single };
    if let [Node::Repeat { node, mode: Mode::Greedy, .. }, Node::Around { node: next, ahead: true, negative }] = nodes
        && let (Node::Class(_), Node::Class(next)) = (&**node, &**next)
    {
        // A repeated class is greedy. With the next character as part of the match, the longest match is the right one.
        // The end of the text, if it may match, comes later still.
        let taken = hir(&nodes[0])?;
        let mut next = next.clone();
        if !negative {
            return Some(vec![(Hir::concat(vec![taken, class(&next)]), true)]);
        }
        next.negate();
        let to_end = Hir::concat(vec![taken.clone(), Hir::look(Look::End)]);
        return Some(vec![(to_end, false), (Hir::concat(vec![taken, class(&next)]), true)]);
    }
    let parts: Option<Vec<Hir>> = (0..nodes.len())
        .map(|at| match &nodes[at] {
            Node::Repeat { node, min, max, mode: Mode::Possessive } if gives_back_nothing(node, &nodes[at + 1..]) => {
                Some(repetition(hir(node)?, *min, *max, true))
            }
            other => hir(other),
        })
        .collect();
    Some(vec![(Hir::concat(parts?), false)])
}

/// Returns `true` if the rest of a branch never needs a repetition to give characters back.
fn gives_back_nothing(node: &Node, rest: &[Node]) -> bool {
    let Node::Class(taken) = node else { return false };
    for next in rest {
        let Node::Repeat { node, min, .. } = next else {
            return matches!(next, Node::Class(next) if apart(taken, next));
        };
        match &**node {
            Node::Class(next) if *min > 0 => return apart(taken, next),
            Node::Class(_) => {}
            _ => return false,
        }
    }
    // The whole rest may be empty, and the empty text always matches.
    true
}

fn apart(a: &ClassUnicode, b: &ClassUnicode) -> bool {
    let mut both = a.clone();
    both.intersect(b);
    both.ranges().is_empty()
}

fn class(class: &ClassUnicode) -> Hir {
    Hir::class(Class::Unicode(class.clone()))
}

fn repetition(sub: Hir, min: u32, max: Option<u32>, greedy: bool) -> Hir {
    Hir::repetition(Repetition { min, max, greedy, sub: Box::new(sub) })
}

/// Converts an expression without lookaround. Returns `None` if it has any.
fn hir(node: &Node) -> Option<Hir> {
    let all = |nodes: &[Node]| nodes.iter().map(hir).collect::<Option<Vec<_>>>();
    match node {
        Node::Class(found) => Some(class(found)),
        Node::Anchor(Anchor::TextStart) => Some(Hir::look(Look::Start)),
        Node::Anchor(Anchor::TextEnd) => Some(Hir::look(Look::End)),
        Node::Anchor(Anchor::LineEnd) => Some(Hir::look(Look::EndLF)),
        Node::Concat(nodes) => all(nodes).map(Hir::concat),
        Node::Alternate(nodes) => all(nodes).map(Hir::alternation),
        Node::Repeat { mode: Mode::Possessive, .. } | Node::Atomic(_) | Node::Around { .. } => None,
        Node::Repeat { node, min, max, mode } => Some(repetition(hir(node)?, *min, *max, *mode == Mode::Greedy)),
    }
}
