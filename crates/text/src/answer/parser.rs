//! The parser of an answer.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{BrokenCall, CallForm, Event, Flow, Output, Reader, Tool};
use crate::template::Reasoning;

/// The longest call, in bytes.
const MAX_CALL: usize = 4 << 20;

/// A parser that separates an answer into text, reasoning and calls.
#[derive(Debug, Clone)]
pub struct AnswerParser {
    reasoning: Option<Reasoning>,
    form: Option<CallForm>,
    out: Output,
    state: State,
    /// Text that may be the beginning of a mark.
    held: String,
    /// White space that belongs to the text unless a call follows.
    space: String,
    /// `true` while white space at the start of a part is left out.
    trims: bool,
    /// `true` if there was no text yet in this part, so that a call without a mark may begin.
    is_fresh: bool,
    /// Characters that are still to be read.
    input: VecDeque<char>,
}

#[derive(Debug)]
enum State {
    Text,
    Reasoning,
    /// Behind the mark of a call. `raw` is the mark, of `mark` bytes, and everything since.
    Call {
        reader: Box<dyn Reader>,
        raw: String,
        mark: usize,
    },
    /// Behind the error of a broken call.
    Broken {
        index: Option<usize>,
        reason: BrokenCall,
        raw: String,
        closing: Option<&'static str>,
    },
}

/// A mark, and what it begins.
#[derive(Clone, Copy)]
enum Mark {
    Reasoning,
    ReasoningEnd,
    /// A mark around the answer.
    Answer,
    Call,
}

impl AnswerParser {
    /// Creates a parser. Without a `form` or without `tools`, nothing is a call.
    ///
    /// `seed` is that of the ids of calls. Calls of one conversation must have different ids, so use another seed for
    /// each answer.
    #[must_use]
    pub fn new(reasoning: Option<Reasoning>, form: Option<CallForm>, tools: impl Into<Arc<[Tool]>>, seed: u64) -> Self {
        let tools = tools.into();
        Self {
            form: form.filter(|_| !tools.is_empty()),
            out: Output { events: Vec::new(), tools, begun: 0, seed },
            state: State::Text,
            held: String::new(),
            space: String::new(),
            trims: reasoning.is_some(),
            is_fresh: true,
            input: VecDeque::new(),
            reasoning,
        }
    }

    /// Begins inside the reasoning, as after a prompt that ends with its start tag ([`Reasoning::begun`]).
    #[must_use]
    pub fn in_reasoning(mut self) -> Self {
        if self.reasoning.is_some() {
            self.state = State::Reasoning;
        }
        self
    }

    /// Returns `true` if a special token's text belongs to the text that the parser needs.
    #[must_use]
    pub fn is_mark(&self, token: &str) -> bool {
        let in_call = self.form.is_some_and(|form| form.marks().iter().any(|mark| mark.contains(token)));
        !token.is_empty() && (in_call || self.reasoning.is_some_and(|tags| tags.is_mark(token)))
    }

    /// Adds text and returns the events that are certain.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        self.input.extend(text.chars());
        self.read();
        std::mem::take(&mut self.out.events)
    }

    /// Ends the answer and returns the remaining events. A call that has begun without an end is broken.
    pub fn finish(&mut self) -> Vec<Event> {
        loop {
            self.read();
            match std::mem::replace(&mut self.state, State::Text) {
                State::Call { mut reader, raw, mark } => {
                    let flow = reader.finish(&mut self.out);
                    self.follow(flow, reader, raw, mark);
                }
                State::Broken { index, reason, raw, .. } => self.broken(index, reason, raw),
                state => {
                    self.state = state;
                    if self.input.is_empty() {
                        break;
                    }
                }
            }
        }
        let held = std::mem::take(&mut self.held);
        self.text(&held);
        if matches!(self.state, State::Text) {
            self.out.text(&std::mem::take(&mut self.space));
        }
        std::mem::take(&mut self.out.events)
    }

    fn read(&mut self) {
        while let Some(c) = self.input.pop_front() {
            self.read_char(c);
        }
    }

    fn read_char(&mut self, c: char) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Call { mut reader, mut raw, mark } => {
                raw.push(c);
                let flow = reader.push(c, &mut self.out);
                self.follow(flow, reader, raw, mark);
            }
            State::Broken { index, reason, mut raw, closing } => {
                raw.push(c);
                self.skip(index, reason, raw, closing);
            }
            State::Text if self.begins_bare(c) => {
                self.begin_call(String::new());
                self.input.push_front(c);
            }
            state => {
                self.state = state;
                self.held.push(c);
                self.take_mark();
            }
        }
    }

    /// Returns `true` if a call without a mark begins.
    fn begins_bare(&self, c: char) -> bool {
        self.is_fresh && self.held.is_empty() && self.form.is_some_and(|form| form.bare() == Some(c))
    }

    /// Takes what is certain from the held text: a mark, or text that cannot belong to one.
    fn take_mark(&mut self) {
        let marks = self.marks();
        let complete = marks.iter().filter(|(text, _)| self.held.ends_with(text));
        if let Some(&(text, mark)) = complete.max_by_key(|(text, _)| text.len()) {
            let mut before = std::mem::take(&mut self.held);
            before.truncate(before.len() - text.len());
            self.text(&before);
            self.begin(text, mark);
            return;
        }
        let longest = marks.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        let starts = self.held.char_indices().map(|(at, _)| at).filter(|at| self.held.len() - at < longest);
        let begun = starts.into_iter().find(|&at| marks.iter().any(|(text, _)| text.starts_with(&self.held[at..])));
        let rest = self.held.split_off(begun.unwrap_or(self.held.len()));
        let certain = std::mem::replace(&mut self.held, rest);
        self.text(&certain);
    }

    /// Returns the marks that may come now.
    fn marks(&self) -> Vec<(&'static str, Mark)> {
        let mut marks = Vec::with_capacity(8);
        if let Some(tags) = self.reasoning {
            if matches!(self.state, State::Reasoning) {
                marks.push((tags.close, Mark::ReasoningEnd));
                return marks;
            }
            marks.push((tags.open, Mark::Reasoning));
            marks.extend(tags.answer.iter().map(|text| (*text, Mark::Answer)));
        }
        if let Some(form) = self.form {
            marks.extend(form.opening().iter().map(|text| (*text, Mark::Call)));
        }
        marks
    }

    fn begin(&mut self, text: &'static str, mark: Mark) {
        match mark {
            Mark::Call => self.begin_call(text.to_owned()),
            Mark::Reasoning | Mark::Answer => {
                self.out.text(&std::mem::take(&mut self.space));
                self.begin_part(if matches!(mark, Mark::Reasoning) { State::Reasoning } else { State::Text });
            }
            Mark::ReasoningEnd => self.begin_part(State::Text),
        }
    }

    /// Begins a part, which leaves out white space at its start.
    fn begin_part(&mut self, state: State) {
        self.state = state;
        self.space.clear();
        self.trims = true;
        self.is_fresh = true;
    }

    fn begin_call(&mut self, raw: String) {
        let Some(form) = self.form else { return };
        let mark = raw.len();
        self.state = State::Call { reader: form.reader(&raw), raw, mark };
    }

    /// Adds certain text of the current part. White space at its end is held back.
    fn text(&mut self, text: &str) {
        let text = if self.trims { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        let solid = text.trim_end();
        if solid.is_empty() {
            self.space.push_str(text);
            return;
        }
        let is_text = !matches!(self.state, State::Reasoning);
        let space = std::mem::replace(&mut self.space, text[solid.len()..].to_owned());
        for part in [&*space, solid] {
            if is_text {
                self.out.text(part);
            } else {
                self.out.reasoning(part);
            }
        }
        self.trims = false;
        self.is_fresh = false;
    }

    /// Continues with what a reader made of a character.
    fn follow(&mut self, flow: Flow, reader: Box<dyn Reader>, raw: String, mark: usize) {
        match flow {
            Flow::More if raw.len() > MAX_CALL => {
                // The reader names the call that it is in.
                let mut reader = reader;
                let closing = reader.closing();
                let index = match reader.finish(&mut self.out) {
                    Flow::Broken { index, .. } => index,
                    _ => None,
                };
                self.skip(index, BrokenCall::TooLong { limit: MAX_CALL }, raw, closing);
            }
            Flow::More => self.state = State::Call { reader, raw, mark },
            Flow::Done { unread } => {
                self.begin_part(State::Text);
                self.reread(&unread);
            }
            Flow::NotACall => {
                // The mark is text, and what follows is read again.
                let first = raw.chars().next().map_or(0, char::len_utf8);
                let (text, rest) = raw.split_at(mark.max(first));
                self.text(text);
                self.reread(rest);
            }
            Flow::Broken { index, reason } => {
                let closing = reader.closing();
                self.skip(index, reason, raw, closing);
            }
        }
    }

    /// Skips the rest of a broken call: up to its end mark, or to the mark of the next call.
    fn skip(&mut self, index: Option<usize>, reason: BrokenCall, mut raw: String, closing: Option<&'static str>) {
        if closing.is_some_and(|mark| raw.ends_with(mark)) {
            self.broken(index, reason, raw);
            return;
        }
        // The mark of the broken call itself begins the next one. A call without a mark ends at any.
        let opening = self.form.map_or(&[][..], |form| form.opening());
        let own = opening.iter().any(|mark| raw.starts_with(mark));
        let mut ends = opening.iter().filter(|mark| !own || raw.starts_with(**mark));
        match ends.find(|mark| raw.len() > mark.len() && raw.ends_with(**mark)) {
            Some(mark) => {
                raw.truncate(raw.len() - mark.len());
                self.broken(index, reason, raw);
                self.reread(mark);
            }
            None => self.state = State::Broken { index, reason, raw, closing },
        }
    }

    fn broken(&mut self, index: Option<usize>, reason: BrokenCall, text: String) {
        self.out.events.push(Event::CallBroken { index, reason, text });
        self.begin_part(State::Text);
    }

    /// Reads text again, before what is still to be read.
    fn reread(&mut self, text: &str) {
        text.chars().rev().for_each(|c| self.input.push_front(c));
    }
}

impl Clone for State {
    fn clone(&self) -> Self {
        match self {
            Self::Text => Self::Text,
            Self::Reasoning => Self::Reasoning,
            Self::Call { reader, raw, mark } => Self::Call { reader: reader.copy(), raw: raw.clone(), mark: *mark },
            Self::Broken { index, reason, raw, closing } => {
                Self::Broken { index: *index, reason: reason.clone(), raw: raw.clone(), closing: *closing }
            }
        }
    }
}
