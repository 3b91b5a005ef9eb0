//! Text that knows which of its bytes come from outside the template.
//!
//! The mark goes with the bytes through everything that copies or moves them. Whatever makes new text out of marked text
//! by other means marks all of it.

use std::ops::{Deref, Range};
use std::rc::Rc;

use super::ast::Text;
use super::budget::Budget;
use super::collections::Dict;
use super::fault::Result;

/// Bytes that a mark takes.
const MARK_BYTES: usize = size_of::<Range<usize>>();

/// A string with its origin.
#[derive(Clone)]
pub(crate) struct Str {
    text: Text,
    origin: Origin,
}

/// Where the bytes of a string come from.
#[derive(Clone)]
enum Origin {
    /// The template, or the engine on its behalf.
    Template,
    /// Messages, tools and other variables.
    Outside,
    /// These parts come from outside; they are sorted, disjoint and not empty.
    Mixed(Rc<[Range<usize>]>),
    /// The arguments of a tool call as JSON text, and the object that they are.
    Arguments(Rc<Dict>),
}

impl Str {
    /// Text of the template.
    pub fn own(text: impl Into<Text>) -> Self {
        Self { text: text.into(), origin: Origin::Template }
    }

    /// Text from outside.
    pub fn outside(text: impl Into<Text>) -> Self {
        Self { text: text.into(), origin: Origin::Outside }
    }

    /// Arguments of a tool call as JSON text.
    pub fn arguments(text: impl Into<Text>, object: Rc<Dict>) -> Self {
        Self { text: text.into(), origin: Origin::Arguments(object) }
    }

    /// Text of one origin.
    pub fn marked(text: impl Into<Text>, outside: bool) -> Self {
        if outside { Self::outside(text) } else { Self::own(text) }
    }

    /// The text alone.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The object that this is the JSON text of, where it is known.
    pub fn as_arguments(&self) -> Option<&Rc<Dict>> {
        match &self.origin {
            Origin::Arguments(object) => Some(object),
            _ => None,
        }
    }

    /// Whether any of it comes from outside.
    pub fn is_outside(&self) -> bool {
        !matches!(self.origin, Origin::Template)
    }

    /// Whether the byte at an index comes from outside.
    pub fn is_outside_at(&self, at: usize) -> bool {
        match &self.origin {
            Origin::Template => false,
            Origin::Outside | Origin::Arguments(_) => true,
            Origin::Mixed(marks) => {
                marks.get(marks.partition_point(|mark| mark.end <= at)).is_some_and(|mark| mark.contains(&at))
            }
        }
    }

    /// The characters, each with whether it comes from outside.
    pub fn marked_chars(&self) -> impl DoubleEndedIterator<Item = (char, bool)> {
        self.char_indices().map(|(at, c)| (c, self.is_outside_at(at)))
    }

    /// The marks in a range of bytes.
    fn marks(&self, range: &Range<usize>) -> &[Range<usize>] {
        let Origin::Mixed(marks) = &self.origin else { return &[] };
        let first = marks.partition_point(|mark| mark.end <= range.start);
        let last = marks.partition_point(|mark| mark.start < range.end);
        marks.get(first..last).unwrap_or_default()
    }

    /// A range of bytes as a string.
    pub fn part(&self, range: Range<usize>, budget: &mut Budget) -> Result<Self> {
        if range == (0..self.len()) {
            return Ok(self.clone());
        }
        budget.make(range.len().saturating_add(self.marks(&range).len() * MARK_BYTES))?;
        let text = self.get(range.clone()).unwrap_or_default();
        let origin = match &self.origin {
            Origin::Template => Origin::Template,
            Origin::Outside | Origin::Arguments(_) => Origin::Outside,
            Origin::Mixed(_) => {
                let clipped = self
                    .marks(&range)
                    .iter()
                    .map(|mark| mark.start.max(range.start) - range.start..mark.end.min(range.end) - range.start);
                Origin::of(clipped.collect(), text.len())
            }
        };
        Ok(Self { text: text.into(), origin })
    }

    /// A slice of this very string as a string.
    pub fn cut(&self, slice: &str, budget: &mut Budget) -> Result<Self> {
        let start = (slice.as_ptr() as usize).saturating_sub(self.as_ptr() as usize);
        self.part(start..start + slice.len(), budget)
    }

    /// The same characters with their case changed. `changed` is the new text as a whole; each character became as many as
    /// `count` says.
    pub fn recased(&self, changed: String, count: fn(char) -> usize, budget: &mut Budget) -> Result<Self> {
        let Origin::Mixed(_) = self.origin else {
            budget.make(changed.len())?;
            return Ok(Self::marked(changed, self.is_outside()));
        };
        let mut output = Builder::default();
        let mut rest = changed.chars();
        for (c, outside) in self.marked_chars() {
            for changed in rest.by_ref().take(count(c)) {
                output.char(changed, outside);
            }
        }
        output.finish(budget)
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Origin {
    /// The origin of a text of `len` bytes with these marks.
    fn of(marks: Vec<Range<usize>>, len: usize) -> Self {
        match &marks[..] {
            [] => Self::Template,
            [only] if *only == (0..len) => Self::Outside,
            _ => Self::Mixed(marks.into()),
        }
    }
}

/// Text that is being written.
#[derive(Default)]
pub(super) struct Builder {
    text: String,
    /// The parts from outside.
    outside: Vec<Range<usize>>,
}

impl Builder {
    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Appends text of the template.
    pub fn own(&mut self, text: &str, budget: &mut Budget) -> Result<()> {
        self.grow(text.len(), 0, budget)?;
        self.text.push_str(text);
        Ok(())
    }

    /// Appends a character that is counted already.
    pub fn char(&mut self, c: char, outside: bool) {
        let start = self.text.len();
        self.text.push(c);
        if outside {
            self.mark(start..self.text.len());
        }
    }

    /// Appends a string.
    pub fn push(&mut self, text: &Str, budget: &mut Budget) -> Result<()> {
        self.part(text, 0..text.len(), budget)
    }

    /// Appends a slice of a string.
    pub fn cut(&mut self, text: &Str, slice: &str, budget: &mut Budget) -> Result<()> {
        let start = (slice.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        self.part(text, start..start + slice.len(), budget)
    }

    /// Appends a range of a string's bytes.
    pub fn part(&mut self, text: &Str, range: Range<usize>, budget: &mut Budget) -> Result<()> {
        let marks = text.marks(&range);
        self.grow(range.len(), marks.len(), budget)?;
        let start = self.text.len();
        self.text.push_str(text.get(range.clone()).unwrap_or_default());
        match &text.origin {
            Origin::Template => {}
            Origin::Outside | Origin::Arguments(_) => self.mark(start..self.text.len()),
            Origin::Mixed(_) => {
                for mark in marks {
                    let (from, to) = (mark.start.max(range.start), mark.end.min(range.end));
                    self.mark(start + from - range.start..start + to - range.start);
                }
            }
        }
        Ok(())
    }

    /// Appends a string several times.
    pub fn repeat(&mut self, text: &Str, times: usize, budget: &mut Budget) -> Result<()> {
        let marks = text.marks(&(0..text.len())).len();
        self.grow(text.len().saturating_mul(times), marks.saturating_mul(times), budget)?;
        if let Origin::Mixed(_) = text.origin {
            for _ in 0..times {
                self.part(text, 0..text.len(), budget)?;
            }
            return Ok(());
        }
        let start = self.text.len();
        self.text.extend(std::iter::repeat_n(&*text.text, times));
        if text.is_outside() {
            self.mark(start..self.text.len());
        }
        Ok(())
    }

    /// Counts bytes and marks that will be appended.
    fn grow(&self, bytes: usize, marks: usize, budget: &mut Budget) -> Result<()> {
        budget.fits(self.text.len().saturating_add(bytes))?;
        budget.touch(bytes.saturating_add(marks.saturating_mul(MARK_BYTES)))
    }

    fn mark(&mut self, range: Range<usize>) {
        match self.outside.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.outside.push(range),
        }
    }

    /// Marks all of it where any of it, or what it was made from, comes from outside.
    pub fn mark_whole(&mut self, outside: bool) {
        if outside || !self.outside.is_empty() {
            self.outside.clear();
            self.mark(0..self.text.len());
        }
    }

    /// The string that was written.
    pub fn finish(self, budget: &mut Budget) -> Result<Str> {
        budget.make(self.text.len())?;
        let origin = Origin::of(self.outside, self.text.len());
        Ok(Str { text: self.text.into(), origin })
    }

    /// The text with its parts from outside.
    pub fn into_parts(self) -> (String, Vec<Range<usize>>) {
        (self.text, self.outside)
    }
}
