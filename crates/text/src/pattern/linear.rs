//! Expressions that an automaton matches in one pass.

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, ClassUnicode, Hir, Look, Repetition};

use super::syntax::{Anchor, Mode, Node, Reason};
use crate::budget::Budget;
use crate::error::{Result, TextError};

/// Bytes that the states of one expression may take, before the automaton forgets them.
const CACHE_BYTES: usize = 4 << 20;
/// Bytes of one expression.
const MAX_BYTES: usize = 8 << 20;
/// Bytes of text between two looks at the budget.
const STRIDE: usize = 1024;
/// Bytes touched for each byte that states take: finding one goes through the places that it stands for.
const WORK_PER_STATE_BYTE: u64 = 4;

/// The branches of an expression as one automaton, the first that matches counting.
pub(crate) struct Linear {
    dfa: DFA,
    /// By branch: whether its last character is only looked at.
    looks_ahead: Vec<bool>,
    /// Caches that nobody uses at the moment.
    caches: Mutex<Vec<Cache>>,
}

impl Linear {
    /// Builds the automaton; `None` where the expression is not of the kind.
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

    /// Lends a cache.
    pub(super) fn with_cache<T>(&self, work: impl FnOnce(&mut Cache) -> T) -> T {
        let free = self.caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut cache = free.unwrap_or_else(|| self.dfa.create_cache());
        let result = work(&mut cache);
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        result
    }

    /// Where the match that begins at `at` ends.
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
                // A match is known one byte after its end.
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

    /// The branch that matches, and where it does.
    fn branch(&self, cache: &Cache, state: LazyStateID, end: usize) -> Option<(usize, usize)> {
        state.is_match().then(|| (self.dfa.match_pattern(cache, state, 0).as_usize(), end))
    }
}

/// How far a cache was filled.
struct States {
    bytes: usize,
    clears: usize,
}

impl States {
    fn of(cache: &Cache) -> Self {
        Self { bytes: cache.memory_usage(), clears: cache.clear_count() }
    }

    /// Pays for the states that were found since.
    fn pay(&self, cache: &Cache, budget: &Budget) -> Result<()> {
        let cleared = cache.clear_count() - self.clears;
        let grown = (cache.memory_usage() + cleared * CACHE_BYTES).saturating_sub(self.bytes);
        budget.charge_each(grown, WORK_PER_STATE_BYTE)
    }
}

fn failed(error: impl std::fmt::Display) -> TextError {
    TextError::Encode { reason: error.to_string() }
}

/// A branch as expressions without lookaround, each with whether its last character is only looked at.
fn branch_of(branch: &Node) -> Option<Vec<(Hir, bool)>> {
    let single = std::slice::from_ref(branch);
    let nodes = if let Node::Concat(nodes) = branch { nodes.as_slice() } else { single };
    if let [Node::Repeat { node, mode: Mode::Greedy, .. }, Node::Around { node: next, ahead: true, negative }] = nodes
        && let (Node::Class(_), Node::Class(next)) = (&**node, &**next)
    {
        // A repeated class takes as much as it can. With the next character as part of the match, that is the longest
        // one; the end of the text, where it will do, is farther still.
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

/// Whether the rest of a branch never gains from what a repetition could give back.
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
    // All of the rest may be nothing, and nothing always matches.
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

/// An expression without lookaround; `None` where it has some.
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
