//! Strings that record which of their bytes come from outside the template.
//!
//! Operations that copy or move bytes keep their marks. All other operations on marked text mark their whole result.

use std::ops::{Deref, Range};
use std::rc::Rc;

use crate::budget::Budget;
use crate::error::Result;
use crate::syntax::ast::Text;
use crate::value::collections::Dict;

/// The number of bytes counted for a mark, the same on all platforms.
const MARK_BYTES: usize = 16;
const _: () = assert!(size_of::<Range<usize>>() <= MARK_BYTES);

/// A string with the origin of its bytes: the template, or the world outside.
#[derive(Clone)]
pub struct Str {
    text: Text,
    origin: Origin,
}

/// The origin of a string's bytes.
#[derive(Clone)]
enum Origin {
    /// The template, or the engine.
    Template,
    /// The variables.
    Outside,
    /// The variables, for the bytes in these ranges. The ranges are sorted, disjoint and not empty.
    Mixed(Rc<[Range<usize>]>),
    /// JSON text from outside, with the object that it encodes.
    Json(Rc<Dict>),
}

impl Str {
    /// Makes a string that belongs to the template.
    pub fn own(text: impl Into<Text>) -> Self {
        Self { text: text.into(), origin: Origin::Template }
    }

    /// Makes a string that comes from outside the template.
    pub fn outside(text: impl Into<Text>) -> Self {
        Self { text: text.into(), origin: Origin::Outside }
    }

    /// Makes a string of JSON text from outside the template, together with the object that the text encodes.
    ///
    /// Templates can use it as a string and as a dictionary, and `tojson` writes the object. Chat templates need this for the
    /// arguments of tool calls: some expect text and some an object.
    pub fn json(text: impl Into<Text>, object: Dict) -> Self {
        Self { text: text.into(), origin: Origin::Json(Rc::new(object)) }
    }

    /// Makes a string whose bytes all have the same origin.
    pub(crate) fn marked(text: impl Into<Text>, outside: bool) -> Self {
        if outside { Self::outside(text) } else { Self::own(text) }
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &Text {
        &self.text
    }

    /// Returns the object that the string encodes, if it was made by [`Str::json`].
    pub(crate) fn as_object(&self) -> Option<&Rc<Dict>> {
        match &self.origin {
            Origin::Json(object) => Some(object),
            _ => None,
        }
    }

    /// Returns `true` if any byte comes from outside the template.
    pub fn is_outside(&self) -> bool {
        !matches!(self.origin, Origin::Template)
    }

    /// Returns `true` if the byte at an index comes from outside.
    pub(crate) fn is_outside_at(&self, at: usize) -> bool {
        match &self.origin {
            Origin::Template => false,
            Origin::Outside | Origin::Json(_) => true,
            Origin::Mixed(marks) => {
                marks.get(marks.partition_point(|mark| mark.end <= at)).is_some_and(|mark| mark.contains(&at))
            }
        }
    }

    /// Iterates over the characters. The flag is `true` for characters from outside.
    pub(crate) fn marked_chars(&self) -> impl DoubleEndedIterator<Item = (char, bool)> {
        self.char_indices().map(|(at, c)| (c, self.is_outside_at(at)))
    }

    /// Returns the marks that overlap a byte range.
    fn marks(&self, range: &Range<usize>) -> &[Range<usize>] {
        let Origin::Mixed(marks) = &self.origin else { return &[] };
        let first = marks.partition_point(|mark| mark.end <= range.start);
        let last = marks.partition_point(|mark| mark.start < range.end);
        marks.get(first..last).unwrap_or_default()
    }

    /// Copies a byte range.
    pub(crate) fn part(&self, range: Range<usize>, budget: &mut Budget) -> Result<Self> {
        if range == (0..self.len()) {
            return Ok(self.clone());
        }
        budget.make(range.len().saturating_add(self.marks(&range).len() * MARK_BYTES))?;
        let text = self.get(range.clone()).unwrap_or_default();
        let origin = match &self.origin {
            Origin::Template => Origin::Template,
            Origin::Outside | Origin::Json(_) => Origin::Outside,
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

    /// Copies `slice`, which must be a slice of this string.
    pub(crate) fn cut(&self, slice: &str, budget: &mut Budget) -> Result<Self> {
        let start = (slice.as_ptr() as usize).saturating_sub(self.as_ptr() as usize);
        self.part(start..start + slice.len(), budget)
    }

    /// Marks `changed`, which is this string with its case changed. `count` is the number of characters that a
    /// character became.
    pub(crate) fn recased(&self, changed: String, count: fn(char) -> usize, budget: &mut Budget) -> Result<Self> {
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
    /// Returns the origin of a text of `len` bytes with the given marks.
    fn of(marks: Vec<Range<usize>>, len: usize) -> Self {
        match &marks[..] {
            [] => Self::Template,
            [only] if *only == (0..len) => Self::Outside,
            _ => Self::Mixed(marks.into()),
        }
    }
}

/// A marked string under construction.
#[derive(Default)]
pub(crate) struct Builder {
    text: String,
    /// The byte ranges from outside.
    outside: Vec<Range<usize>>,
}

impl Builder {
    /// Returns the number of bytes written so far.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Appends text of the template.
    pub fn own(&mut self, text: &str, budget: &mut Budget) -> Result<()> {
        self.grow(text.len(), 0, budget)?;
        self.text.push_str(text);
        Ok(())
    }

    /// Appends a character. The caller has counted it.
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

    /// Appends `slice`, which must be a slice of `text`.
    pub fn cut(&mut self, text: &Str, slice: &str, budget: &mut Budget) -> Result<()> {
        let start = (slice.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        self.part(text, start..start + slice.len(), budget)
    }

    /// Appends a byte range of a string.
    pub fn part(&mut self, text: &Str, range: Range<usize>, budget: &mut Budget) -> Result<()> {
        let marks = text.marks(&range);
        self.grow(range.len(), marks.len(), budget)?;
        let start = self.text.len();
        self.text.push_str(text.get(range.clone()).unwrap_or_default());
        match &text.origin {
            Origin::Template => {}
            Origin::Outside | Origin::Json(_) => self.mark(start..self.text.len()),
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

    /// Counts bytes and marks that are about to be appended.
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

    /// Marks the whole text if any part of it is marked, or if `outside` is set.
    pub fn mark_whole(&mut self, outside: bool) {
        if outside || !self.outside.is_empty() {
            self.outside.clear();
            self.mark(0..self.text.len());
        }
    }

    /// Returns the string.
    pub fn finish(self, budget: &mut Budget) -> Result<Str> {
        budget.make(self.text.len())?;
        let origin = Origin::of(self.outside, self.text.len());
        Ok(Str { text: self.text.into(), origin })
    }

    /// Returns the text and the byte ranges from outside.
    pub fn into_parts(self) -> (String, Vec<Range<usize>>) {
        (self.text, self.outside)
    }
}
