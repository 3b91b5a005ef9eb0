//! The WGSL sources, and the preprocessor that assembles the text of a variant.
//!
//! - The constants of the variant come first.
//! - `//!include lib/NAME` inserts the file of that name, once; `//!include format` inserts the format of the weight.
//! - Lines from `//!repeat NAME` to `//!end` are repeated as many times as the constant NAME says; `$` becomes the number of the
//!   copy. This gives numbered variables, since some devices put arrays of registers in memory.
//! - In a variant with SUBGROUPS, a file `lib/NAME_subgroups` replaces `lib/NAME` if it exists.
//! - In a format, `COLS` becomes the columns of the weight, which are a parameter of the operation.

use crate::pack::Layout;

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("shaders/", $name, ".wgsl")))),*]
    };
}

/// All files except the formats, by the name that includes use.
const SOURCES: &[(&str, &str)] = sources![
    "lib/activation",
    "lib/arena",
    "lib/arena4",
    "lib/arena_bits",
    "lib/attended",
    "lib/blocks",
    "lib/cache",
    "lib/draw",
    "lib/groups",
    "lib/hadamard",
    "lib/half",
    "lib/k_scales",
    "lib/linear",
    "lib/maths",
    "lib/reduce",
    "lib/reduce_subgroups",
    "lib/rope",
    "lib/step",
    "lib/team",
    "lib/team_subgroups",
    "lib/threads",
    "lib/threads_subgroups",
    "lib/weights",
    "ops/append",
    "ops/append_rotated",
    "ops/attend",
    "ops/copy",
    "ops/edit",
    "ops/embed",
    "ops/join",
    "ops/linear_rows",
    "ops/linear_tile",
    "ops/map",
    "ops/norm",
    "ops/rope",
    "ops/sample",
];

/// The value of a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    U32(u32),
    Bool(bool),
}

/// The constant of variants that sum by subgroups.
pub(crate) const SUBGROUPS: (&str, Constant) = ("SUBGROUPS", Constant::Bool(true));

/// The kernels that sum over threads, and have a variant with [`SUBGROUPS`].
pub(crate) const SUMMING: [&str; 3] = ["attend", "linear_rows", "norm"];

/// A variant of a kernel: its file in `ops`, its constants, and the format of its weight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    pub(crate) op: &'static str,
    pub(crate) constants: Vec<(&'static str, Constant)>,
    pub(crate) format: Option<Layout>,
}

/// Returns the text of a variant.
///
/// # Panics
/// Panics if an include names a missing file, or a format where there is none. Both are bugs in this crate.
pub(crate) fn assemble(variant: &Variant) -> String {
    assemble_text(source(&format!("ops/{}", variant.op)), &variant.constants, variant.format)
}

/// Assembles a text that is not a file in `ops`; see [`assemble`].
pub(crate) fn assemble_text(part: &str, constants: &[(&'static str, Constant)], format: Option<Layout>) -> String {
    let mut text = String::new();
    let of_format = format.map(Layout::constants).unwrap_or_default();
    let of_format = of_format.into_iter().map(|(name, value)| (name, Constant::U32(value)));
    for (name, value) in constants.iter().copied().chain(of_format) {
        match value {
            Constant::U32(value) => text += &format!("const {name}: u32 = {value}u;\n"),
            Constant::Bool(value) => text += &format!("const {name}: bool = {value};\n"),
        }
    }
    let subgroups = constants.contains(&SUBGROUPS);
    include(part, format, subgroups, &mut Vec::new(), &mut text);
    repeated(&text, constants)
}

/// Returns `text` with its repeated lines expanded.
fn repeated(text: &str, constants: &[(&'static str, Constant)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.trim_start().strip_prefix("//!repeat ") else {
            out += line;
            out.push('\n');
            continue;
        };
        let Some((_, Constant::U32(count))) = constants.iter().find(|(n, _)| *n == name) else {
            panic!("no constant {name} to repeat by");
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "//!end").collect();
        for number in 0..*count {
            out.extend(body.iter().flat_map(|line| [line.replace('$', &number.to_string()), "\n".to_owned()]));
        }
    }
    out
}

fn find(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(n, _)| *n == name).map(|(_, source)| *source)
}

fn source(name: &str) -> &'static str {
    find(name).unwrap_or_else(|| panic!("no shader file {name}"))
}

/// Appends `part` with its includes, except for those that are `done`.
fn include(part: &str, format: Option<Layout>, subgroups: bool, done: &mut Vec<String>, text: &mut String) {
    for line in part.lines() {
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
            include(&replace_word(layout.source(), "COLS", "p.cols"), format, subgroups, done, text);
        } else {
            let faster = subgroups.then(|| find(&format!("{name}_subgroups"))).flatten();
            include(faster.unwrap_or_else(|| source(name)), format, subgroups, done, text);
        }
    }
}

/// Returns `text` with every occurrence of the identifier `word` replaced.
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

#[cfg(test)]
#[path = "shaders_tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
