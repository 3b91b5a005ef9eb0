//! Line breaks between words, for text that is shown on a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between the tab stops of a terminal.
const TAB: usize = 8;

/// Breaks text into lines of at most `width` columns while the text arrives in pieces.
///
/// Lines break at spaces, and beside characters that are two columns wide, since scripts that use them have no spaces.
/// The last word of a piece is held back until its end is known. A word that is longer than a line is left to the
/// terminal.
pub struct Wrapper {
    width: usize,
    /// The columns at the start of a line that follows a break.
    indent: usize,
    /// The columns of the current line that are in use.
    column: usize,
    /// The spaces before `word`.
    gap: usize,
    /// The word whose end is not known yet.
    word: String,
    /// The number of line breaks so far, those that the terminal makes included.
    breaks: usize,
}

impl Wrapper {
    /// Creates a wrapper for a terminal of `width` columns, with the cursor at the start of a line.
    pub fn new(width: usize) -> Self {
        Self { width: width.max(1), indent: 0, column: 0, gap: 0, word: String::new(), breaks: 0 }
    }

    /// Returns a wrapper for the same terminal at the start of a new line.
    pub fn renewed(self) -> Self {
        Self::new(self.width)
    }

    /// Returns the number of lines above the cursor.
    pub fn breaks(&self) -> usize {
        self.breaks
    }

    /// Returns the part of the text so far that can be shown now.
    pub fn push(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        for c in text.chars() {
            match c {
                '\n' => {
                    self.end_word(&mut out);
                    self.gap = 0;
                    self.break_line(&mut out, 0);
                }
                ' ' => {
                    self.end_word(&mut out);
                    self.gap += 1;
                }
                '\t' => {
                    self.end_word(&mut out);
                    self.gap += TAB - (self.column + self.gap) % TAB;
                }
                c if c.width() == Some(2) => {
                    self.end_word(&mut out);
                    self.word.push(c);
                    self.end_word(&mut out);
                }
                c => self.word.push(c),
            }
        }
        out
    }

    /// Returns the word that was held back. Spaces at the end of the text are dropped.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.end_word(&mut out);
        self.gap = 0;
        out
    }

    fn break_line(&mut self, out: &mut String, indent: usize) {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
        (self.column, self.breaks) = (indent, self.breaks + 1);
    }

    fn end_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let columns = self.word.width();
        if self.column > self.indent && self.column + self.gap + columns > self.width {
            self.break_line(out, self.indent);
        } else {
            out.extend(std::iter::repeat_n(' ', self.gap));
            self.column += self.gap;
        }
        out.push_str(&self.word);
        let total = self.column + columns;
        // The terminal breaks a longer word wherever a line is full.
        let broken = total.saturating_sub(1) / self.width;
        (self.column, self.breaks) = (total - broken * self.width, self.breaks + broken);
        self.gap = 0;
        self.word.clear();
    }
}

/// Breaks a whole text into lines of at most `width` columns; lines after a break begin with `indent` spaces.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut wrapper = Wrapper { indent: indent.min(width / 2), ..Wrapper::new(width) };
    let mut out = wrapper.push(text);
    out.push_str(&wrapper.finish());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Once upon a time, there was a little girl named Lily. She was 3.5 years old.\n\n    let x = 1;";

    #[test]
    fn lines_break_between_words_whatever_the_width() {
        for width in [20, 60, 80, 100, 200] {
            let out = wrapped(TEXT, width, 0);
            assert!(out.lines().all(|line| line.width() <= width && line.trim_end() == line), "{out}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&out), words(TEXT));
            assert!(out.ends_with("\n\n    let x = 1;"), "lines keep their own indentation: {out}");
        }
        assert_eq!(wrapped("aa bb cc dd", 5, 0), "aa bb\ncc dd");
        assert_eq!(wrapped("aa bb cc", 6, 2), "aa bb\n  cc");
    }

    #[test]
    fn pieces_make_the_same_lines_as_the_whole() {
        for width in [8, 20, 60] {
            let mut wrapper = Wrapper::new(width);
            let mut out: String = TEXT.chars().map(|c| wrapper.push(&c.to_string())).collect();
            out.push_str(&wrapper.finish());
            assert_eq!(out, wrapped(TEXT, width, 0));
            assert_eq!(wrapper.breaks(), out.matches('\n').count());
        }
    }

    #[test]
    fn scripts_without_spaces_break_anywhere_and_long_words_are_left_whole() {
        assert_eq!(wrapped("你好你好你", 4, 0), "你好\n你好\n你");
        let mut wrapper = Wrapper::new(4);
        assert_eq!(wrapper.push("ab abcdefghij k") + &wrapper.finish(), "ab\nabcdefghij k");
        assert_eq!(wrapper.breaks(), 3, "two lines of the word are the terminal's");
    }

    #[test]
    fn a_word_waits_for_its_end() {
        let mut wrapper = Wrapper::new(10);
        assert_eq!(wrapper.push("perple"), "");
        assert_eq!(wrapper.push("xity "), "perplexity");
        assert_eq!(wrapper.push("of"), "");
        assert_eq!(wrapper.finish(), "\nof");
    }
}
