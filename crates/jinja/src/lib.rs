//! Sandboxed Jinja2 with Python's values, for templates that are not trusted.
//!
//! Language models are published with a chat template: a Jinja2 program that formats a conversation. This crate renders
//! such templates the way the `transformers` library does, and treats them as hostile input.
//!
//! - **Python's semantics.** Values print, compare, slice and format as Python's do: integers, floats, `str`, `bytes`,
//!   lists, tuples, dictionaries in insertion order, and the methods of `str` and `dict`. Jinja2's filters, tests,
//!   macros, call blocks, namespaces, recursive loops and loop controls work. `trim_blocks` and `lstrip_blocks` are set,
//!   `tojson` writes what `json.dumps(ensure_ascii=False)` writes, and `raise_exception`, `strftime_now` and the
//!   `generation` tag are defined, as in `transformers` (`utils/chat_template_utils.py`).
//! - **A sandbox.** Lists and dictionaries cannot be changed, no attribute leads out of the values, and templates cannot
//!   load other templates or files. This is Jinja2's `ImmutableSandboxedEnvironment` without its Python objects.
//! - **Bounded work.** [`Limits`] bounds the source, the bytes that a rendering touches, each value, the output and the
//!   nesting. Every operation is counted before it is done, and no clock is involved: the same template and variables
//!   succeed or fail everywhere. Nothing panics, and nothing recurses without a bound.
//! - **Marked output.** Strings record which of their bytes come from outside the template. [`Rendered::outside`] lists
//!   these bytes in the output, so that a tokenizer can tell the template's special tokens from a user's text that looks
//!   like one.
//!
//! ```
//! use honelm_jinja::{Limits, Template, Value};
//!
//! let source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}\n{% endfor %}";
//! let template = Template::parse(source, Limits::default())?;
//! let messages = Value::from_json(&serde_json::json!([{"role": "user", "content": " Hello! "}]))?;
//! let rendered = template.render([("messages", messages)], None)?;
//! assert_eq!(rendered.text, "<|user|>Hello!\n");
//! // "user" and "Hello!" come from the variables.
//! assert_eq!(rendered.outside, [2..6, 8..14]);
//! # Ok::<(), honelm_jinja::Error>(())
//! ```
//!
//! An operation that would exceed a bound fails before it is done:
//!
//! ```
//! use honelm_jinja::{ErrorKind, Limits, Template, Value};
//!
//! let template = Template::parse("{{ 'a' * 10 ** 12 }}", Limits::default())?;
//! let error = template.render::<&str>([], None).unwrap_err();
//! assert!(matches!(error.kind, ErrorKind::Limit { resource: "bytes in one value", .. }));
//! # Ok::<(), honelm_jinja::Error>(())
//! ```

#![forbid(unsafe_code)]

mod budget;
mod characters;
mod clock;
mod error;
mod limits;
mod python;
mod run;
mod syntax;
mod template;
mod value;

pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use limits::Limits;
pub use syntax::ast::Text;
pub use template::{Rendered, Template};
pub use value::collections::{Dict, Items};
pub use value::marked::Str;
pub use value::{Missing, Object, Value};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
