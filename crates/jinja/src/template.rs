//! Parsed templates.

use std::ops::Range;
use std::rc::Rc;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::run::functions;
use crate::run::machine::Machine;
use crate::syntax::ast::{Statement, Text};
use crate::syntax::parse;
use crate::value::marked::Builder;
use crate::value::scope::Scope;
use crate::value::{Function, ObjectKind, Value};

/// A parsed template.
///
/// A template can be rendered any number of times, and shared between threads.
pub struct Template {
    body: Vec<Statement>,
    limits: Limits,
}

/// The output of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The byte ranges of the text that come from outside the template, that is, from the variables. The ranges are
    /// sorted, disjoint and not empty.
    pub outside: Vec<Range<usize>>,
    /// The number of bytes counted against [`Limits::touched_bytes`].
    pub touched_bytes: u64,
}

impl Template {
    /// Parses a template. Its renderings are bound by `limits` too.
    ///
    /// # Errors
    /// [`ErrorKind::Syntax`](crate::ErrorKind::Syntax) if the source is not valid, and
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) if it is longer than [`Limits::source_bytes`].
    pub fn parse(source: &str, limits: Limits) -> Result<Self> {
        if source.len() > limits.source_bytes {
            return Err(Error::limit("bytes of source", limits.source_bytes as u64));
        }
        Ok(Self { body: parse(source)?, limits })
    }

    /// Renders the template with the given variables.
    ///
    /// `strftime_now` shows the time of `clock`. Without a clock the function is not defined.
    ///
    /// # Errors
    /// [`ErrorKind::Raised`](crate::ErrorKind::Raised) if the template calls `raise_exception`,
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) if a bound is reached, and
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) for any operation that Python or the sandbox refuses.
    pub fn render<N: Into<Text>>(
        &self,
        variables: impl IntoIterator<Item = (N, Value)>,
        clock: Option<Clock>,
    ) -> Result<Rendered> {
        let mut machine = Machine {
            budget: Budget::new(self.limits),
            clock,
            output_limit: self.limits.output_bytes,
            capturing: false,
            kept: Vec::new(),
            changing: Vec::new(),
        };
        let builtin = Rc::new(Scope::default());
        let functions = functions::FUNCTIONS.into_iter().chain(clock.map(|_| ("strftime_now", Function::StrftimeNow)));
        for (name, function) in functions {
            builtin.set(name.into(), Value::object(ObjectKind::Function(function)), &mut machine.budget)?;
        }
        let given = Scope::inside(&builtin, &mut machine.budget)?;
        for (name, value) in variables {
            given.set(name.into(), value, &mut machine.budget)?;
        }
        let mut out = Builder::default();
        let own = Scope::inside(&given, &mut machine.budget)?;
        machine.run(&self.body, &own, &mut out)?;
        let (text, outside) = out.into_parts();
        Ok(Rendered { text, outside, touched_bytes: machine.budget.touched() })
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("limits", &self.limits).finish_non_exhaustive()
    }
}
