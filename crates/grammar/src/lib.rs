//! Grammars that a generated text must match.
//!
//! A [`Grammar`] is compiled once from a [`Constraint`] (a JSON schema, a regular expression, a Lark or GBNF grammar, a
//! choice of strings) or from tools ([`Grammar::of_calls`]). It gives a [`Matcher`] to each answer:
//!
//! ```text
//! loop {
//!     if matcher.is_finished() { end }
//!     let mask = matcher.mask()?;                       // while the device computes the logits
//!     let token = choose_allowed(logits, mask, …)?;     // honelm_backend
//!     matcher.advance(token)?;                          // an end token ends the answer
//! }
//! ```
//!
//! A mask depends on the tokens so far alone, so it can be computed on any thread while the device works: a matcher is
//! [`Send`]. [`Matcher::accepts`] checks drafts, [`Matcher::rollback`] takes tokens back, and a clone is a branch.
//!
//! The grammars are compiled by [`llguidance`](https://docs.rs/llguidance) into an Earley parser over a lexer of regular
//! expressions with derivatives; a mask is a walk over the trie of all tokens. All work is bounded by [`Limits`].
//!
//! # JSON schemas
//!
//! Schemas follow Draft 2020-12. A keyword that cannot be enforced is an error ([`GrammarError::Schema`]), never ignored.
//!
//! | | keywords |
//! |---|---|
//! | enforced | `type`, `enum`, `const`, `anyOf`, `oneOf` (if its cases exclude each other), `allOf`, `$ref` into the schema; `properties`, `required`, `additionalProperties`, `patternProperties`, `minProperties`, `maxProperties`; `items`, `prefixItems`, `additionalItems`, `minItems`, `maxItems`; `minLength`, `maxLength`, `pattern`, `format`; `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf` |
//! | ignored, as they allow and forbid nothing | `title`, `description`, `default`, `examples`, `example`, `deprecated`, `readOnly`, `writeOnly`, `$comment`, `$schema`, `$id`, `id`, `$anchor`, `contentMediaType`, `contentEncoding`, `x-…`, `uniqueItems: false` |
//! | refused | all others: `not`, `if`, `contains`, `uniqueItems`, `propertyNames`, `dependentRequired`, `unevaluatedProperties`, `nullable`, … |
//!
//! An object schema that declares properties and says nothing of `additionalProperties` is read as closed, as in llama.cpp: the
//! text has declared properties alone. `"additionalProperties": true` allows others. Where `allOf` or `$ref` join several schemas,
//! all properties that they declare are allowed. A schema that cannot be met when it is closed stays open.
//!
//! Properties are written in the order of the schema. Between the parts of a JSON text, there is at most one space,
//! or one newline with an indentation.

#![forbid(unsafe_code)]

mod closing;
mod error;
mod gbnf;
mod grammar;
mod matcher;
mod schema;
mod vocabulary;

pub use error::{GrammarError, Result};
pub use grammar::{Calls, Constraint, Grammar, Limits};
pub use matcher::Matcher;
pub use vocabulary::TokenVocabulary;
