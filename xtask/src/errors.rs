//! `docs/errors.md`: the error codes of every crate, read from the source of their error types.

use std::collections::BTreeMap;
use std::path::Path;

use syn::{Arm, Expr, ImplItem, Item, Lit, Meta, Pat};

const HEAD: &str = "\
# Error codes

Written by `cargo xtask generate`; do not edit.

An error has a code that stays the same between versions, and a message for people that may change.
With `--json`, a command that fails prints `{\"error\": {\"code\": ..., \"message\": ...}}` to stdout. The
library returns the code from `Error::code`, the browser package as `code` of the error.

`…` stands for a value: a file, a field, a size.
";

/// The document as the sources say it.
///
/// # Errors
///
/// A source file that cannot be read or parsed, and a code whose variant has no message.
pub fn document(root: &Path) -> Result<String, String> {
    let mut crates: Vec<_> = std::fs::read_dir(root.join("crates"))
        .map_err(|e| format!("crates: {e}"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    crates.sort();
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in crates
        .iter()
        .flat_map(|folder| ["src/error.rs", "src/lib.rs", "src/gateway/store/error.rs"].map(|name| folder.join(name)))
    {
        if file.exists() {
            let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let parsed = syn::parse_file(&text).map_err(|e| format!("{}: {e}", file.display()))?;
            collect(&parsed.items, &mut codes);
        }
    }
    let mut out = HEAD.to_owned() + "\n| code | message |\n|---|---|\n";
    for (code, messages) in codes {
        out += &format!("| `{code}` | {} |\n", messages.join("<br>").replace('|', "\\|"));
    }
    Ok(out)
}

/// A problem if `docs/errors.md` is not current.
pub fn violations(root: &Path) -> Result<Vec<String>, String> {
    let written = std::fs::read_to_string(root.join("docs/errors.md")).unwrap_or_default();
    let current = written == document(root)?;
    Ok(if current { vec![] } else { vec!["docs/errors.md is out of date: run `cargo xtask generate`".to_owned()] })
}

/// Adds the codes of a file's error types, with the messages of their variants.
fn collect(items: &[Item], codes: &mut BTreeMap<String, Vec<String>>) {
    let mut messages = BTreeMap::new();
    for item in items {
        if let Item::Enum(item) = item {
            for variant in &item.variants {
                if let Some(message) = variant.attrs.iter().find_map(|a| message(&a.meta)) {
                    messages.insert((item.ident.to_string(), variant.ident.to_string()), message);
                }
            }
        }
    }
    for item in items {
        let Item::Impl(item) = item else { continue };
        let syn::Type::Path(own) = &*item.self_ty else { continue };
        let Some(name) = own.path.segments.last().map(|s| s.ident.to_string()) else { continue };
        for function in &item.items {
            let ImplItem::Fn(function) = function else { continue };
            if function.sig.ident != "code" {
                continue;
            }
            let arms = function.block.stmts.iter().filter_map(|statement| match statement {
                syn::Stmt::Expr(Expr::Match(e), _) => Some(&e.arms),
                _ => None,
            });
            for arm in arms.flatten() {
                for code in literals(&arm.body) {
                    let known = codes.entry(code).or_default();
                    for variant in variants(arm) {
                        let message = messages.get(&(name.clone(), variant));
                        known.extend(message.filter(|m| !known.contains(m)).cloned());
                    }
                }
            }
        }
    }
}

/// The string literals that an arm evaluates to.
fn literals(body: &Expr) -> Vec<String> {
    match body {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => vec![text.value()],
            _ => vec![],
        },
        Expr::Match(inner) => inner.arms.iter().flat_map(|arm| literals(&arm.body)).collect(),
        Expr::If(inner) => {
            let last = |block: &syn::Block| match block.stmts.last() {
                Some(syn::Stmt::Expr(e, None)) => literals(e),
                _ => vec![],
            };
            let otherwise = inner.else_branch.iter().flat_map(|(_, e)| literals(e));
            last(&inner.then_branch).into_iter().chain(otherwise).collect()
        }
        Expr::Block(inner) => match inner.block.stmts.last() {
            Some(syn::Stmt::Expr(e, None)) => literals(e),
            _ => vec![],
        },
        _ => vec![],
    }
}

/// The variants that an arm matches.
fn variants(arm: &Arm) -> Vec<String> {
    fn of(pattern: &Pat, out: &mut Vec<String>) {
        let path = match pattern {
            Pat::Or(cases) => return cases.cases.iter().for_each(|case| of(case, out)),
            Pat::Path(p) => &p.path,
            Pat::Struct(p) => &p.path,
            Pat::TupleStruct(p) => &p.path,
            _ => return,
        };
        out.extend(path.segments.last().map(|s| s.ident.to_string()));
    }
    let mut out = Vec::new();
    of(&arm.pat, &mut out);
    out
}

/// The message of `#[error("...")]`, with `…` in the place of values.
fn message(meta: &Meta) -> Option<String> {
    let Meta::List(list) = meta else { return None };
    if !list.path.is_ident("error") {
        return None;
    }
    let literal = list.tokens.clone().into_iter().next()?;
    let text = syn::parse_str::<syn::LitStr>(&literal.to_string()).ok()?.value();
    let mut out = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '{' | '}' if characters.peek() == Some(&c) => out.extend(characters.next()),
            '{' => {
                characters.by_ref().find(|&c| c == '}');
                out.push('…');
            }
            '\n' => out.push(' '),
            '<' => out += "&lt;",
            _ => out.push(c),
        }
    }
    Some(out.trim_end_matches(['…', ' ']).to_owned() + if out.ends_with('…') { " …" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_messages_are_found() {
        let source = r#"
            enum E { #[error("{file}: found {}, expected {{}}", x)] A, #[error("gone")] B { n: u8 }, #[error(transparent)] C(Other) }
            impl E { fn code(&self) -> &'static str { match self {
                Self::A | Self::B { .. } => "bad",
                Self::C(e) if e.full() => "full",
                Self::C(e) => match e { Other::X => "x", _ => e.code() },
            } } }
        "#;
        let mut codes = BTreeMap::new();
        collect(&syn::parse_file(source).expect("Rust").items, &mut codes);
        assert_eq!(codes["bad"], ["…: found …, expected {}", "gone"]);
        assert_eq!(codes.keys().collect::<Vec<_>>(), ["bad", "full", "x"]);
    }
}
