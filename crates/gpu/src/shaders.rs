//! The WGSL sources, and the include step that makes a variant's text of them.
//!
//! `//!include lib/NAME` stands for the file of that name, once; `//!include format` for the format of the weight. Constants
//! of a variant come first. In a format, `COLS` stands for the columns of the weight, which are a parameter of the operation.

use crate::pack::Layout;

/// Shared parts by the name that includes give them.
const LIBRARY: &[(&str, &str)] = &[
    ("lib/weights", include_str!("shaders/lib/weights.wgsl")),
    ("lib/k_scales", include_str!("shaders/lib/k_scales.wgsl")),
    ("lib/groups", include_str!("shaders/lib/groups.wgsl")),
];

/// The number that a constant of a variant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    U32(u32),
    Bool(bool),
}

/// The text of a variant.
///
/// # Panics
/// When an include names no file, or a format where there is none: both are mistakes in this crate.
pub(crate) fn assemble(source: &str, constants: &[(&'static str, Constant)], format: Option<Layout>) -> String {
    let mut text = String::new();
    let of_format = format.map(Layout::constants).unwrap_or_default();
    let of_format = of_format.into_iter().map(|(name, value)| (name, Constant::U32(value)));
    for (name, value) in constants.iter().copied().chain(of_format) {
        match value {
            Constant::U32(value) => text += &format!("const {name}: u32 = {value}u;\n"),
            Constant::Bool(value) => text += &format!("const {name}: bool = {value};\n"),
        }
    }
    let mut done = Vec::new();
    include(source, format, &mut done, &mut text);
    text
}

fn include(source: &str, format: Option<Layout>, done: &mut Vec<String>, text: &mut String) {
    for line in source.lines() {
        let Some(name) = line.strip_prefix("//!include ").map(str::trim) else {
            *text += line;
            text.push('\n');
            continue;
        };
        if done.iter().any(|d| d == name) {
            continue;
        }
        done.push(name.to_owned());
        if name == "format" {
            let layout = format.unwrap_or_else(|| panic!("a variant without a format includes one"));
            include(&replace_word(layout.source(), "COLS", "p.cols"), format, done, text);
        } else {
            let found = LIBRARY.iter().find(|(n, _)| *n == name);
            include(found.unwrap_or_else(|| panic!("no shader part {name}")).1, format, done, text);
        }
    }
}

/// `text` with every occurrence of the identifier `word` replaced.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let whole = !before.ends_with(part) && !after.starts_with(part);
        out += before;
        out += if whole { by } else { word };
        rest = after;
    }
    out + rest
}
