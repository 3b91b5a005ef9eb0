//! Oniguruma's character classes for Unicode.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// The reason why an expression is refused.
pub(super) type Reason = String;

/// Returns the class of an expression of the `regex` crate.
fn known(expression: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(expression).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A class of one character is a literal.
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok()?.chars().next().map(single),
        _ => None,
    }
}

/// Returns the class of an expression of the `regex` crate that is known to be valid.
pub(super) fn built_in(expression: &str) -> ClassUnicode {
    known(expression).unwrap_or_else(ClassUnicode::empty)
}

/// Returns the class of a range of characters.
pub(super) fn range(low: char, high: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(low, high)])
}

/// Returns the class of one character.
pub(super) fn single(c: char) -> ClassUnicode {
    range(c, c)
}

fn all() -> ClassUnicode {
    range('\0', char::MAX)
}

pub(super) fn negated(mut class: ClassUnicode) -> ClassUnicode {
    class.negate();
    class
}

/// Returns the class of all characters, with or without the newline.
pub(super) fn dot(newline: bool) -> ClassUnicode {
    if newline { all() } else { negated(single('\n')) }
}

/// Returns the class `\w`. Unlike in the `regex` crate, joiners are not part of a word.
pub(super) fn word() -> ClassUnicode {
    built_in(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]")
}

/// Returns the class of a character. With `ignore_case`, it includes the character's other cases.
pub(super) fn literal(c: char, ignore_case: bool) -> ClassUnicode {
    let mut class = single(c);
    if ignore_case {
        class.case_fold_simple();
    }
    class
}

/// Returns a POSIX class. All except `xdigit` and `ascii` include characters beyond ASCII.
pub(super) fn posix(name: &str) -> Option<ClassUnicode> {
    let expression = match name {
        "alnum" => r"[\p{Alphabetic}\p{Nd}]",
        "alpha" => r"\p{Alphabetic}",
        "ascii" => r"[\x00-\x7F]",
        "blank" => r"[\p{Zs}\t]",
        "cntrl" => r"\p{Cc}",
        "digit" => r"\p{Nd}",
        "lower" => r"\p{Lowercase}",
        "punct" | "posixpunct" => r"[\p{P}\p{S}]",
        "space" => r"\s",
        "upper" => r"\p{Uppercase}",
        "xdigit" => "[0-9A-Fa-f]",
        "word" => return Some(word()),
        _ => return None,
    };
    known(expression)
}

/// Returns the class of a property: a POSIX class, a category, a script or a binary property.
pub(super) fn property(name: &str) -> Result<ClassUnicode, Reason> {
    let wrong = || format!("the property \\p{{{name}}} is not supported");
    let (negative, plain) = name.strip_prefix('^').map_or((false, name), |rest| (true, rest));
    if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric() || " _-".contains(c)) {
        return Err(wrong());
    }
    let folded: String = plain.chars().filter(|c| !" _-".contains(*c)).collect::<String>().to_ascii_lowercase();
    if matches!(folded.as_str(), "graph" | "print") {
        return Err(wrong());
    }
    // `\p{Punct}` is the category. `[:punct:]` also includes symbols.
    let posix = posix(&folded).filter(|_| folded != "punct");
    let class = posix.or_else(|| known(&format!(r"\p{{{plain}}}"))).ok_or_else(wrong)?;
    Ok(if negative { negated(class) } else { class })
}

/// Pairs of characters that are one character in another case.
const FOLDED_PAIRS: [(char, char); 12] = [
    ('s', 's'),
    ('s', 't'),
    ('f', 'f'),
    ('f', 'i'),
    ('f', 'l'),
    ('i', '\u{307}'),
    ('j', '\u{30c}'),
    ('h', '\u{331}'),
    ('t', '\u{308}'),
    ('w', '\u{30a}'),
    ('y', '\u{30a}'),
    ('a', '\u{2be}'),
];

/// Refuses literals whose number of characters changes with their case. Only Oniguruma matches these.
pub(super) fn check_fold(previous: Option<char>, c: char, ignore_case: bool) -> Result<(), Reason> {
    if !ignore_case {
        return Ok(());
    }
    let pair = previous.map(|previous| (previous.to_ascii_lowercase(), c.to_ascii_lowercase()));
    let cased = !c.is_ascii() && literal(c, true).ranges() != single(c).ranges();
    if cased || several(c) || c == '\u{2bc}' || pair.is_some_and(|pair| FOLDED_PAIRS.contains(&pair)) {
        return Err(format!("{c:?} without regard to case is not supported"));
    }
    Ok(())
}

/// Returns `true` if a character is several characters in another case.
fn several(c: char) -> bool {
    c.to_uppercase().count() > 1 || c.to_lowercase().count() > 1
}

/// Makes a bracketed class case-insensitive.
pub(super) fn folded(class: &ClassUnicode, negative: bool) -> Result<ClassUnicode, Reason> {
    let mut foreign = class.clone();
    foreign.intersect(&negated(range('\0', '\x7f')));
    let mut closed = foreign.clone();
    closed.case_fold_simple();
    let has_several = || foreign.iter().any(|r| (r.start()..=r.end()).any(several));
    if closed.ranges() != foreign.ranges() || !negative && has_several() {
        return Err("a class of letters beyond ASCII without regard to case is not supported".to_owned());
    }
    let mut class = class.clone();
    class.case_fold_simple();
    Ok(class)
}

/// Returns `true` if the `regex` crate counts a character as part of a word.
pub(crate) fn is_word(c: char) -> bool {
    regex_syntax::try_is_word_character(c).unwrap_or_else(|_| c.is_alphanumeric() || c == '_')
}
