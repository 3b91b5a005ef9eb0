//! Python's classes and cases of characters.

/// The zeros of the decimal digits in Unicode's Basic Multilingual Plane. The other nine digits follow each zero.
const ZEROS: [char; 37] = [
    '\u{30}', '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
    '\u{c66}', '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{1090}', '\u{17e0}',
    '\u{1810}', '\u{1946}', '\u{19d0}', '\u{1a80}', '\u{1a90}', '\u{1b50}', '\u{1bb0}', '\u{1c40}', '\u{1c50}',
    '\u{a620}', '\u{a8d0}', '\u{a900}', '\u{a9d0}', '\u{a9f0}', '\u{aa50}', '\u{abf0}', '\u{ff10}',
];

pub(crate) fn is_decimal(c: char) -> bool {
    ZEROS.iter().any(|zero| u32::from(c).checked_sub(u32::from(*zero)).is_some_and(|above| above < 10))
}

/// Returns `true` for superscript, subscript and circled digits.
pub(crate) fn is_small_digit(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨')
}

/// Converts the first character of a word to title case.
pub(crate) fn titlecase(c: char) -> impl Iterator<Item = char> {
    // These characters are ligatures of two letters.
    let digraph = match c {
        'Ǆ'..='ǆ' => Some('ǅ'),
        'Ǉ'..='ǉ' => Some('ǈ'),
        'Ǌ'..='ǌ' => Some('ǋ'),
        'Ǳ'..='ǳ' => Some('ǲ'),
        _ => None,
    };
    let mut upper = c.to_uppercase();
    let first = digraph.or_else(|| upper.next());
    let rest = if digraph.is_some() { None } else { Some(upper.flat_map(char::to_lowercase)) };
    first.into_iter().chain(rest.into_iter().flatten())
}

/// Returns `true` for Python's white space: Unicode's, and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
