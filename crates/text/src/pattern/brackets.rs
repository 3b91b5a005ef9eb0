//! Character classes in expressions: `[a-z]`, `\d`, `\p{L}`.

use regex_syntax::hir::ClassUnicode;

use super::classes::{Reason, built_in, folded, negated, posix, property, range, single, word};
use super::syntax::{Flags, Parser};

impl Parser<'_> {
    /// Parses `\d`, `\p{..}` and similar classes. The backslash has been read.
    pub(super) fn class_escape(&mut self, flags: Flags) -> Result<ClassUnicode, Reason> {
        let c = self.next().ok_or("backslash at the end")?;
        let class = match c.to_ascii_lowercase() {
            'd' => built_in(r"\d"),
            's' => built_in(r"\s"),
            'w' => word(),
            'h' => built_in("[0-9A-Fa-f]"),
            'p' if self.take("{") => {
                let (name, rest) = self.rest.split_once('}').ok_or("closing brace of a property is missing")?;
                self.rest = rest;
                let class = property(name)?;
                let mut closed = class.clone();
                closed.case_fold_simple();
                if flags.ignore_case && closed.ranges() != class.ranges() {
                    return Err(format!("\\p{{{name}}} without regard to case is not supported"));
                }
                class
            }
            _ => return Err(format!("the escape `\\{c}` is not supported")),
        };
        Ok(if c.is_ascii_uppercase() { negated(class) } else { class })
    }

    /// Parses a bracketed class. The opening bracket has been read.
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
            match self.next().ok_or("closing bracket of a class is missing")? {
                ']' if !start => break,
                '[' if self.rest.starts_with(':') && self.rest.contains(":]") => class.union(&self.posix_bracket()?),
                '[' => class.union(&self.bracket(Flags { ignore_case: false, ..flags })?),
                '\\' if self.rest.starts_with(|c: char| "dDwWsShHpP".contains(c)) => {
                    class.union(&self.class_escape(flags)?);
                    if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                        return Err("a range cannot begin with a class".to_owned());
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

    /// Parses a character, or a range that begins with it.
    fn item(&mut self, first: char) -> Result<ClassUnicode, Reason> {
        let low = if first == '\\' { self.member()? } else { first };
        if !self.rest.starts_with('-') || self.rest.starts_with("-]") {
            return Ok(single(low));
        }
        self.next();
        let high = match self.next().ok_or("closing bracket of a class is missing")? {
            '\\' => self.member()?,
            '[' => return Err("a range cannot end with a class".to_owned()),
            c => c,
        };
        if low > high || first == '-' {
            return Err(format!("invalid range {low:?} to {high:?}"));
        }
        Ok(range(low, high))
    }

    /// Parses an escaped character inside a class.
    fn member(&mut self) -> Result<char, Reason> {
        if self.take("b") { Ok('\u{8}') } else { self.escaped() }
    }
}

/// Intersects two classes, if there are two.
fn meet(both: Option<ClassUnicode>, mut class: ClassUnicode) -> ClassUnicode {
    if let Some(both) = both {
        class.intersect(&both);
    }
    class
}
