use std::borrow::Cow;

/// Returns `text` in a form that is safe to show on a terminal: control characters except newline and tab, and
/// characters that change the direction of the text around them, become escapes such as `\u{1b}`.
///
/// Names and texts from model files, servers and models can contain terminal escape sequences. The result contains
/// none, even if it is split into pieces and shown piece by piece.
///
/// ```
/// assert_eq!(honelm_formats::printable("a\x1b]52;c;AAAA\x07\n"), "a\\u{1b}]52;c;AAAA\\u{7}\n");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts_on_terminals) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts_on_terminals(c) { out.extend(c.escape_debug()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Returns `true` if a terminal may act on the character instead of displaying it.
#[must_use]
pub fn acts_on_terminals(c: char) -> bool {
    let directs = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || (c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_becomes_an_escape() {
        for (text, shown) in [
            ("\x1b]52;c;QUJD\x07", "\\u{1b}]52;c;QUJD\\u{7}"),
            ("\x1b[2J\x1b[31mred", "\\u{1b}[2J\\u{1b}[31mred"),
            ("\u{9b}31m\u{9d}0;title\u{9c}", "\\u{9b}31m\\u{9d}0;title\\u{9c}"),
            ("over\rwritten\x08\x7f\0", "over\\rwritten\\u{8}\\u{7f}\\0"),
            ("cod\u{202e}gpj.exe\u{2066}", "cod\\u{202e}gpj.exe\\u{2066}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown, "an escape is not escaped again");
        }
    }

    #[test]
    fn plain_text_of_any_script_stays_as_it_is() {
        for text in ["", "two\nlines\tand a tab", "中文 😀 e\u{301}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}", "\\u{1b}"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }
}
