//! Execution of statements.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result, short};
use crate::python::arguments::Args;
use crate::python::{sequences, text};
use crate::run::functions::set_attribute;
use crate::run::machine::Machine;
use crate::syntax::ast::{Expression, ExpressionKind, FilterCall, For, Macro, Statement, StatementKind, Target, Text};
use crate::value::collections::Items;
use crate::value::marked::{Builder, Str};
use crate::value::scope::Scope;
use crate::value::{Loop, Missing, Object, ObjectKind, Value};

/// The size of a macro, in bytes.
const MACRO_BYTES: usize = 256;

/// The statement to continue with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

impl Machine {
    /// Runs statements in a scope.
    pub fn run(&mut self, body: &[Statement], scope: &Rc<Scope>, out: &mut Builder) -> Result<Flow> {
        self.budget.enter()?;
        for statement in body {
            match self.statement(statement, scope, out).map_err(|error| error.at(statement.line))? {
                Flow::Next => {}
                flow => {
                    self.budget.leave();
                    return Ok(flow);
                }
            }
        }
        self.budget.leave();
        Ok(Flow::Next)
    }

    /// Runs statements in a new scope.
    fn run_inside(&mut self, body: &[Statement], scope: &Rc<Scope>, out: &mut Builder) -> Result<Flow> {
        let inside = Scope::inside(scope, &mut self.budget)?;
        self.run(body, &inside, out)
    }

    /// Checks that the output has room for `bytes` more bytes.
    fn room(&self, bytes: usize, out: &Builder) -> Result<()> {
        if !self.capturing && out.len() + bytes > self.output_limit {
            return Err(Error::limit("bytes of output", self.output_limit as u64));
        }
        Ok(())
    }

    fn emit(&mut self, value: &Value, out: &mut Builder) -> Result<()> {
        if let Some(text) = value.as_text() {
            self.room(text.len(), out)?;
            return out.push(text, &mut self.budget);
        }
        let text = text::string(value, &mut self.budget)?;
        self.room(text.len(), out)?;
        out.push(&text, &mut self.budget)
    }

    fn statement(&mut self, statement: &Statement, scope: &Rc<Scope>, out: &mut Builder) -> Result<Flow> {
        match &statement.kind {
            StatementKind::Text(text) => {
                self.room(text.len(), out)?;
                out.own(text, &mut self.budget)?;
            }
            StatementKind::Emit(value) => {
                let value = self.evaluate(value, scope)?;
                self.emit(&value, out)?;
            }
            StatementKind::Set(target, value) => {
                let value = self.evaluate(value, scope)?;
                self.assign(target, value, scope, scope)?;
            }
            StatementKind::SetBlock(target, filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.assign(target, value, scope, scope)?;
            }
            StatementKind::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.evaluate(condition, scope)?.truth() {
                        return self.run(body, scope, out);
                    }
                }
                return self.run(otherwise, scope, out);
            }
            StatementKind::For(statement) => {
                let over = self.evaluate(&statement.over, scope)?;
                self.run_loop(statement, &over, scope, 1, out)?;
            }
            StatementKind::Macro(definition) => {
                let made = self.macro_in(definition, scope)?;
                scope.set(definition.name.clone(), made, &mut self.budget)?;
            }
            StatementKind::Call(call, caller) => self.call_block(call, caller, scope, out)?,
            StatementKind::Filter(filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.emit(&value, out)?;
            }
            StatementKind::With(pairs, body) => {
                let inside = Scope::inside(scope, &mut self.budget)?;
                for (target, value) in pairs {
                    let value = self.evaluate(value, scope)?;
                    self.assign(target, value, &inside, scope)?;
                }
                return self.run(body, &inside, out);
            }
            StatementKind::Scope(body) => return self.run_inside(body, scope, out),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
            StatementKind::Load(tag) => {
                return Err(Error::failed(format!("{tag}: templates cannot load other templates")));
            }
        }
        Ok(Flow::Next)
    }

    /// Renders a body and applies filters to its text.
    fn filtered(&mut self, filters: &[FilterCall], body: &[Statement], scope: &Rc<Scope>) -> Result<Value> {
        let inside = Scope::inside(scope, &mut self.budget)?;
        let mut value = self.captured(|machine, out| machine.run(body, &inside, out).map(drop))?;
        for filter in filters {
            let args = self.arguments(&filter.arguments, scope)?;
            value = self.filter(&filter.name, value, args).map_err(|error| error.at(filter.line))?;
        }
        Ok(value)
    }

    /// Assigns a value to a target in `scope`. Namespaces are looked up in `around`.
    fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>, around: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name.clone(), value, &mut self.budget)?,
            Target::Attribute(name, attribute) => match around.get(name, &mut self.budget)? {
                Some(Value::Object(object)) if matches!(object.kind(), ObjectKind::Namespace(_)) => {
                    set_attribute(object.kind(), attribute, value, &mut self.budget)?;
                }
                None => return Err(Missing::Name(name.clone()).error()),
                Some(_) => return Err(Error::failed("cannot assign attribute on non-namespace object")),
            },
            Target::Tuple(targets) => {
                let items = sequences::items(&value, &mut self.budget)?;
                if items.len() != targets.len() {
                    let (expected, found) = (targets.len(), items.len());
                    return Err(Error::failed(format!("values to unpack: expected {expected}, got {found}")));
                }
                for (target, item) in targets.iter().zip(items.iter()) {
                    self.assign(target, item.clone(), scope, around)?;
                }
            }
        }
        Ok(())
    }

    /// Runs a loop over the items of a value.
    pub fn run_loop(
        &mut self,
        statement: &Arc<For>,
        over: &Value,
        scope: &Rc<Scope>,
        depth: usize,
        out: &mut Builder,
    ) -> Result<()> {
        let mut items = sequences::items(over, &mut self.budget)?;
        if let Some(filter) = &statement.filter {
            let mut kept = Vec::new();
            for item in items.iter() {
                let inside = Scope::inside(scope, &mut self.budget)?;
                self.assign(&statement.target, item.clone(), &inside, scope)?;
                if self.evaluate(filter, &inside)?.truth() {
                    self.budget.make(0)?;
                    kept.push(item.clone());
                }
            }
            items = Items::new(kept)?;
        }
        if items.is_empty() {
            return self.run_inside(&statement.otherwise, scope, out).map(drop);
        }
        if statement.recursive {
            self.keep(scope);
        }
        let recursion = statement.recursive.then(|| (Arc::clone(statement), Rc::clone(scope)));
        let state = Loop { items: Rc::clone(&items), at: Cell::new(0), depth, seen: RefCell::default(), recursion };
        let object = Object::new(ObjectKind::Loop(state));
        let ObjectKind::Loop(state) = object.kind() else { return Ok(()) };
        let name: Text = "loop".into();
        for (at, item) in items.iter().enumerate() {
            state.at.set(at);
            self.budget.step()?;
            // Each iteration has its own variables.
            let inside = Scope::inside(scope, &mut self.budget)?;
            inside.set(name.clone(), Value::Object(object.clone()), &mut self.budget)?;
            self.assign(&statement.target, item.clone(), &inside, scope)?;
            if self.run(&statement.body, &inside, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// Makes a macro that sees the variables of a scope.
    fn macro_in(&mut self, definition: &Arc<Macro>, scope: &Rc<Scope>) -> Result<Value> {
        self.budget.make(MACRO_BYTES)?;
        self.keep(scope);
        Ok(Value::object(ObjectKind::Macro { definition: Arc::clone(definition), scope: Rc::clone(scope) }))
    }

    /// Records a scope that a value refers to, so that it is cleared at the end.
    fn keep(&mut self, scope: &Rc<Scope>) {
        if !self.kept.last().is_some_and(|last| Rc::ptr_eq(last, scope)) {
            self.kept.push(Rc::clone(scope));
        }
    }

    fn call_block(
        &mut self,
        call: &Expression,
        caller: &Arc<Macro>,
        scope: &Rc<Scope>,
        out: &mut Builder,
    ) -> Result<()> {
        let ExpressionKind::Call(callee, arguments) = &*call.kind else {
            return Err(Error::failed("a call block needs a call of a macro"));
        };
        let callee = self.evaluate(callee, scope)?;
        let mut args = self.arguments(arguments, scope)?;
        args.keyword.push((Str::own("caller"), self.macro_in(caller, scope)?));
        let value = self.call(&callee, args)?;
        self.emit(&value, out)
    }

    /// Calls a macro.
    pub fn call_macro(&mut self, definition: &Arc<Macro>, scope: &Rc<Scope>, args: Args) -> Result<Value> {
        let inside = Scope::inside(scope, &mut self.budget)?;
        // Each parameter is looked up among the keyword arguments, and all arguments are moved.
        let names = args.keyword.len() + 1;
        self.budget.make_items((definition.parameters.len() + 3).saturating_mul(names) + args.positional.len())?;
        let compared: usize = definition.parameters.iter().map(|(name, _)| name.len()).sum();
        self.budget.touch(compared.saturating_mul(names))?;
        let name = &definition.name;
        let mut positional = args.positional.into_iter();
        let mut keyword = args.keyword;
        let mut take =
            |wanted: &Text| keyword.iter().position(|(given, _)| **given == **wanted).map(|at| keyword.remove(at).1);
        for (parameter, default) in &definition.parameters {
            let given = match (positional.next(), take(parameter)) {
                (Some(_), Some(_)) => {
                    return Err(Error::failed(format!("macro '{name}' got two values for '{parameter}'")));
                }
                (Some(value), None) | (None, Some(value)) => Some(value),
                (None, None) => None,
            };
            let value = match (given, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.evaluate(default, &inside)?,
                (None, None) => {
                    Value::Undefined(Missing::Other(format!("parameter '{parameter}' was not provided").into()))
                }
            };
            inside.set(parameter.clone(), value, &mut self.budget)?;
        }
        let is_parameter = |wanted: &str| definition.parameters.iter().any(|(name, _)| **name == *wanted);
        if definition.uses.caller && !is_parameter("caller") {
            let caller = take(&"caller".into());
            let caller = caller.unwrap_or_else(|| Value::Undefined(Missing::Other("No caller defined".into())));
            inside.set("caller".into(), caller, &mut self.budget)?;
        }
        let rest: Vec<Value> = positional.collect();
        if definition.uses.varargs && !is_parameter("varargs") {
            let rest = self.budget.tuple(rest)?;
            inside.set("varargs".into(), rest, &mut self.budget)?;
        } else if !rest.is_empty() {
            let most = definition.parameters.len();
            return Err(Error::failed(format!("macro '{name}' takes at most {most} argument(s)")));
        }
        if definition.uses.kwargs && !is_parameter("kwargs") {
            let pairs = keyword.into_iter().map(|(name, value)| (Value::Str(name), value));
            let rest = self.budget.dict(pairs)?;
            inside.set("kwargs".into(), rest, &mut self.budget)?;
        } else if let Some((given, _)) = keyword.first() {
            return Err(Error::failed(format!("macro '{name}' takes no keyword argument '{}'", short(given))));
        }
        self.captured(|machine, out| machine.run(&definition.body, &inside, out).map(drop))
    }
}
