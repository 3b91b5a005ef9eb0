//! Character classes, as Oniguruma has them for Unicode.

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

use super::syntax::{Flags, Parser, Reason, range};

/// A class of the `regex` crate, by an expression that is one.
fn known(expression: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(expression).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A class of one character is a literal.
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok()?.chars().next().map(single),
        _ => None,
    }
}

/// A class of the `regex` crate that is always there.
fn built_in(expression: &str) -> ClassUnicode {
    known(expression).unwrap_or_else(ClassUnicode::empty)
}

/// One character.
pub(super) fn single(c: char) -> ClassUnicode {
    range(c, c)
}

fn all() -> ClassUnicode {
    range('\0', char::MAX)
}

fn negated(mut class: ClassUnicode) -> ClassUnicode {
    class.negate();
    class
}

/// Any character, with or without the newline.
pub(super) fn dot(newline: bool) -> ClassUnicode {
    if newline { all() } else { negated(single('\n')) }
}

/// `\w`: unlike in the `regex` crate, joiners are no part of a word.
pub(super) fn word() -> ClassUnicode {
    built_in(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]")
}

/// A character, and those that differ from it in case only.
pub(super) fn literal(c: char, ignore_case: bool) -> ClassUnicode {
    let mut class = single(c);
    if ignore_case {
        class.case_fold_simple();
    }
    class
}

/// A POSIX class; all but `xdigit` and `ascii` go beyond ASCII.
fn posix(name: &str) -> Option<ClassUnicode> {
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

/// A property by name: a POSIX class, a category, a script or a binary property.
fn property(name: &str) -> Result<ClassUnicode, Reason> {
    let wrong = || format!("the property \\p{{{name}}} is not supported");
    let (negative, plain) = name.strip_prefix('^').map_or((false, name), |rest| (true, rest));
    if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric() || " _-".contains(c)) {
        return Err(wrong());
    }
    let folded: String = plain.chars().filter(|c| !" _-".contains(*c)).collect::<String>().to_ascii_lowercase();
    if matches!(folded.as_str(), "graph" | "print") {
        return Err(wrong());
    }
    // `\p{Punct}` is the category, unlike `[:punct:]`, which has the symbols too.
    let posix = posix(&folded).filter(|_| folded != "punct");
    let class = posix.or_else(|| known(&format!(r"\p{{{plain}}}"))).ok_or_else(wrong)?;
    Ok(if negative { negated(class) } else { class })
}

/// Sequences that are one character in another case.
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

/// Refuses literals that case folding turns into more or fewer characters, which only Oniguruma matches.
pub(super) fn check_fold(previous: Option<char>, c: char, ignore_case: bool) -> Result<(), Reason> {
    if !ignore_case {
        return Ok(());
    }
    let pair = previous.map(|previous| (previous.to_ascii_lowercase(), c.to_ascii_lowercase()));
    let cased = !c.is_ascii() && literal(c, true).ranges() != single(c).ranges();
    if cased || several(c) || c == '\u{2bc}' || pair.is_some_and(|pair| FOLDED_PAIRS.contains(&pair)) {
        return Err(format!("{c:?} without regard to case"));
    }
    Ok(())
}

/// Whether a character is several in another case.
fn several(c: char) -> bool {
    c.to_uppercase().count() > 1 || c.to_lowercase().count() > 1
}

/// A bracketed class without regard to case.
fn folded(class: &ClassUnicode, negative: bool) -> Result<ClassUnicode, Reason> {
    let mut foreign = class.clone();
    foreign.intersect(&negated(range('\0', '\x7f')));
    let mut closed = foreign.clone();
    closed.case_fold_simple();
    let has_several = || foreign.iter().any(|r| (r.start()..=r.end()).any(several));
    if closed.ranges() != foreign.ranges() || !negative && has_several() {
        return Err("a class of letters beyond ASCII without regard to case".to_owned());
    }
    let mut class = class.clone();
    class.case_fold_simple();
    Ok(class)
}

impl Parser<'_> {
    /// `\d`, `\p{..}` and the like; the backslash is passed.
    pub(super) fn class_escape(&mut self, flags: Flags) -> Result<ClassUnicode, Reason> {
        let c = self.next().ok_or("a backslash at the end")?;
        let class = match c.to_ascii_lowercase() {
            'd' => built_in(r"\d"),
            's' => built_in(r"\s"),
            'w' => word(),
            'h' => built_in("[0-9A-Fa-f]"),
            'p' if self.take("{") => {
                let (name, rest) = self.rest.split_once('}').ok_or("a property without its closing brace")?;
                self.rest = rest;
                let class = property(name)?;
                let mut closed = class.clone();
                closed.case_fold_simple();
                if flags.ignore_case && closed.ranges() != class.ranges() {
                    return Err(format!("\\p{{{name}}} without regard to case"));
                }
                class
            }
            _ => return Err(format!("the escape `\\{c}` is not supported")),
        };
        Ok(if c.is_ascii_uppercase() { negated(class) } else { class })
    }

    /// A bracketed class; the bracket is passed.
    pub(super) fn bracket(&mut self, flags: Flags) -> Result<ClassUnicode, Reason> {
        self.enter()?;
        let negative = self.take("^");
        let mut class = ClassUnicode::empty();
        let mut both: Option<ClassUnicode> = None;
        let mut start = true;
        loop {
            if self.take("&&") {
                both = Some(meet(both, class));
                class = ClassUnicode::empty();
                continue;
            }
            match self.next().ok_or("a class without its closing bracket")? {
                ']' if !start => break,
                '[' if self.rest.starts_with(':') && self.rest.contains(":]") => class.union(&self.posix_bracket()?),
                '[' => class.union(&self.bracket(Flags { ignore_case: false, ..flags })?),
                '\\' if self.rest.starts_with(|c: char| "dDwWsShHpP".contains(c)) => {
                    class.union(&self.class_escape(flags)?);
                    if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                        return Err("a range that begins with a class".to_owned());
                    }
                }
                c => class.union(&self.item(c)?),
            }
            class = self.paid(class)?;
            start = false;
        }
        self.leave();
        let mut class = meet(both, class);
        if flags.ignore_case {
            class = folded(&class, negative)?;
        }
        Ok(if negative { negated(class) } else { class })
    }

    fn posix_bracket(&mut self) -> Result<ClassUnicode, Reason> {
        let (name, rest) = self.rest.get(1..).unwrap_or_default().split_once(":]").unwrap_or_default();
        let (negative, plain) = name.strip_prefix('^').map_or((false, name), |rest| (true, rest));
        let class = posix(plain).ok_or_else(|| format!("the class [:{name}:] is not supported"))?;
        self.rest = rest;
        Ok(if negative { negated(class) } else { class })
    }

    /// A character or a range that begins with it.
    fn item(&mut self, first: char) -> Result<ClassUnicode, Reason> {
        let low = if first == '\\' { self.member()? } else { first };
        if !self.rest.starts_with('-') || self.rest.starts_with("-]") {
            return Ok(single(low));
        }
        self.next();
        let high = match self.next().ok_or("a class without its closing bracket")? {
            '\\' => self.member()?,
            '[' => return Err("a range that ends with a class".to_owned()),
            c => c,
        };
        if low > high || first == '-' {
            return Err(format!("the range {low:?} to {high:?}"));
        }
        Ok(range(low, high))
    }

    /// The character of an escape inside a class.
    fn member(&mut self) -> Result<char, Reason> {
        if self.take("b") { Ok('\u{8}') } else { self.escaped() }
    }
}

/// What two classes have in common, where there are two.
fn meet(both: Option<ClassUnicode>, mut class: ClassUnicode) -> ClassUnicode {
    if let Some(both) = both {
        class.intersect(&both);
    }
    class
}

/// Whether a character is part of a word, as the `regex` crate has it.
pub(crate) fn is_word(c: char) -> bool {
    regex_syntax::try_is_word_character(c).unwrap_or_else(|_| c.is_alphanumeric() || c == '_')
}
