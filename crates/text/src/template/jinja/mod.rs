//! Jinja2 as transformers sets it up, for templates that are not trusted.
//!
//! A template is parsed once (`lexer`, `parser`, `expressions`) and run by a tree walk (`execute`, `evaluate`) over values
//! that behave as Python's (`value`, `operators`, `methods`, `strings`, `format`, `text`), with Jinja2's filters, tests and
//! functions (`filters`, `selection`, `predicates`, `functions`). The sandbox is the immutable one: lists and dictionaries
//! cannot be changed, and no attribute leads out of them.
//!
//! Everything that a template does is counted in a `budget`: each operation, each byte that is made or read, each level of
//! nesting. What would go beyond it is refused before it is done. Values nest and weigh no more than `value` allows, so
//! that nothing recurses without a bound.

mod arguments;
mod ast;
mod budget;
mod evaluate;
mod execute;
mod expressions;
mod fault;
mod filters;
mod format;
mod functions;
mod json;
mod lexer;
mod methods;
mod operators;
mod parser;
mod predicates;
mod scope;
mod selection;
mod strings;
mod text;
mod value;

use std::rc::Rc;

pub(super) use ast::Text;
pub(super) use fault::{Fault, FaultKind};
pub(super) use value::{Dict, Items, Value};

use super::{Clock, Limits};
use budget::Budget;
use evaluate::Machine;
use scope::Scope;
use value::{Function, Object};

/// A parsed template.
pub(super) struct Template {
    body: Vec<ast::Statement>,
}

impl Template {
    /// Parses a template.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        parser::parse(source).map(|body| Self { body })
    }

    /// The text that the template makes of variables.
    pub fn render(&self, variables: Vec<(Text, Value)>, clock: Option<Clock>, limits: Limits) -> Result<String, Fault> {
        let mut machine = Machine {
            budget: Budget::new(limits.steps, limits.memory_bytes, limits.depth),
            clock,
            output_limit: limits.output_bytes,
            capturing: false,
            kept: Vec::new(),
            namespaces: Vec::new(),
        };
        let builtin = Rc::new(Scope::default());
        let functions = functions::FUNCTIONS.into_iter().chain(clock.map(|_| ("strftime_now", Function::StrftimeNow)));
        for (name, function) in functions {
            builtin.set(name.into(), Value::object(Object::Function(function)));
        }
        let given = Scope::inside(&builtin);
        for (name, value) in variables {
            given.set(name, value);
        }
        let mut out = String::new();
        machine.run(&self.body, &Scope::inside(&given), &mut out)?;
        Ok(out)
    }
}
