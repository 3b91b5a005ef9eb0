//! Jinja2 as transformers sets it up, for templates that are not trusted.
//!
//! A template is parsed once (`lexer`, `parser`, `expressions`) and run by a tree walk (`execute`, `evaluate`) over values
//! that behave as Python's (`value`, `operators`, `methods`, `strings`, `format`, `text`), with Jinja2's filters, tests and
//! functions (`filters`, `selection`, `predicates`, `functions`). The sandbox is the immutable one: lists and dictionaries
//! cannot be changed, and no attribute leads out of them.
//!
//! Everything that a template does is counted in a `budget`: the bytes that each operation reads and writes, and each
//! level of nesting. What would go beyond it is refused before it is done. Values nest and weigh no more than
//! `collections` allows, so that nothing recurses without a bound, and they are freed one after another (`release`).
//!
//! Strings know which of their bytes come from outside the template (`marked`).

mod arguments;
mod ast;
mod budget;
mod bytes;
mod characters;
mod collections;
mod evaluate;
mod execute;
mod expressions;
mod fault;
mod filters;
mod format;
mod functions;
mod html;
mod json;
mod lexer;
mod marked;
mod methods;
mod operators;
mod parser;
mod predicates;
mod release;
mod scope;
mod selection;
mod sorting;
mod strings;
mod text;
mod value;

use std::rc::Rc;

pub(super) use ast::Text;
pub(super) use collections::{Dict, Items};
pub(super) use fault::{Fault, FaultKind};
pub(super) use marked::Str;
pub(super) use value::Value;

use super::{Clock, Limits, Rendered};
use budget::Budget;
use evaluate::Machine;
use marked::Builder;
use scope::Scope;
use value::{Function, Object};

/// A parsed template.
pub(super) struct Template {
    body: Vec<ast::Statement>,
}

impl Template {
    /// Parses a template.
    pub fn parse(source: &str, limits: Limits) -> Result<Self, Fault> {
        if source.len() > limits.source_bytes {
            return Err(Fault::limit("bytes of source", limits.source_bytes as u64));
        }
        parser::parse(source).map(|body| Self { body })
    }

    /// The text that the template makes of variables.
    pub fn render(
        &self,
        variables: Vec<(Text, Value)>,
        clock: Option<Clock>,
        limits: Limits,
    ) -> Result<Rendered, Fault> {
        let mut machine = Machine {
            budget: Budget::new(limits),
            clock,
            output_limit: limits.output_bytes,
            capturing: false,
            kept: Vec::new(),
            changing: Vec::new(),
        };
        let builtin = Rc::new(Scope::default());
        let functions = functions::FUNCTIONS.into_iter().chain(clock.map(|_| ("strftime_now", Function::StrftimeNow)));
        for (name, function) in functions {
            builtin.set(name.into(), Value::object(Object::Function(function)), &mut machine.budget)?;
        }
        let given = Scope::inside(&builtin, &mut machine.budget)?;
        for (name, value) in variables {
            given.set(name, value, &mut machine.budget)?;
        }
        let mut out = Builder::default();
        let own = Scope::inside(&given, &mut machine.budget)?;
        machine.run(&self.body, &own, &mut out)?;
        let (text, outside) = out.into_parts();
        Ok(Rendered { text, outside, touched_bytes: machine.budget.touched() })
    }
}
