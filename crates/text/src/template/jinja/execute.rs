//! Statements to text.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::ast::{Expression, ExpressionKind, FilterCall, For, Macro, Statement, StatementKind, Target, Text};
use super::evaluate::Machine;
use super::fault::{Fault, FaultKind, Result};
use super::scope::Scope;
use super::value::{Items, Loop, Missing, Object, Value};
use super::{filters, operators, text};

/// Bytes that a scope and a macro take.
const SCOPE_BYTES: usize = 256;

/// Where a body goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Machine {
    /// Runs statements in a scope.
    pub fn run(&mut self, body: &[Statement], scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        self.budget.enter()?;
        for statement in body {
            match self.statement(statement, scope, out).map_err(|fault| fault.at(statement.line))? {
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

    /// Runs statements in a scope of their own.
    fn run_inside(&mut self, body: &[Statement], scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        self.run(body, &Scope::inside(scope), out)
    }

    /// Writes text, within the bounds.
    fn write(&mut self, text: &str, out: &mut String) -> Result<()> {
        self.budget.make(text.len())?;
        if !self.capturing && out.len() + text.len() > self.output_limit {
            let limit = self.output_limit as u64;
            return Err(Fault { kind: FaultKind::Limit { resource: "bytes", limit }, line: 0 });
        }
        out.push_str(text);
        Ok(())
    }

    fn emit(&mut self, value: &Value, out: &mut String) -> Result<()> {
        if let Some(text) = value.as_str() {
            return self.write(text, out);
        }
        self.budget.make(value.weight())?;
        let text = text::string(value)?;
        self.write(&text, out)
    }

    fn statement(&mut self, statement: &Statement, scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        match &statement.kind {
            StatementKind::Text(text) => self.write(text, out)?,
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
                scope.set(definition.name.clone(), made);
            }
            StatementKind::Call(call, caller) => self.call_block(call, caller, scope, out)?,
            StatementKind::Filter(filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.emit(&value, out)?;
            }
            StatementKind::With(pairs, body) => {
                let inside = Scope::inside(scope);
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
                return Err(Fault::failed(format!("{tag}: a chat template has no other templates to read")));
            }
        }
        Ok(Flow::Next)
    }

    /// What a body writes, through filters.
    fn filtered(&mut self, filters: &[FilterCall], body: &[Statement], scope: &Rc<Scope>) -> Result<Value> {
        let inside = Scope::inside(scope);
        let mut value = self.captured(|machine, out| machine.run(body, &inside, out).map(drop))?;
        for filter in filters {
            let args = self.arguments(&filter.arguments, scope)?;
            value = filters::apply(self, &filter.name, value, args).map_err(|fault| fault.at(filter.line))?;
        }
        Ok(value)
    }

    /// Gives a value to its target in `scope`; a namespace is looked up in `around`.
    fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>, around: &Rc<Scope>) -> Result<()> {
        self.budget.make(SCOPE_BYTES / 4)?;
        match target {
            Target::Name(name) => scope.set(name.clone(), value),
            Target::Attribute(name, attribute) => match around.get(name) {
                Some(Value::Object(object)) if matches!(*object, Object::Namespace(_)) => {
                    set_attribute(&object, attribute, value)?;
                }
                None => return Err(Missing::Name(name.clone()).fault()),
                Some(_) => return Err(Fault::failed("cannot assign attribute on non-namespace object")),
            },
            Target::Tuple(targets) => {
                let items = operators::items(&value, &mut self.budget)?;
                if items.len() != targets.len() {
                    let (expected, found) = (targets.len(), items.len());
                    return Err(Fault::failed(format!("values to unpack: expected {expected}, got {found}")));
                }
                for (target, item) in targets.iter().zip(items.iter()) {
                    self.assign(target, item.clone(), scope, around)?;
                }
            }
        }
        Ok(())
    }

    /// Runs a loop over a value.
    pub fn run_loop(
        &mut self,
        statement: &Arc<For>,
        over: &Value,
        scope: &Rc<Scope>,
        depth: usize,
        out: &mut String,
    ) -> Result<()> {
        let mut items = operators::items(over, &mut self.budget)?;
        if let Some(filter) = &statement.filter {
            let mut kept = Vec::new();
            for item in items.iter() {
                let inside = Scope::inside(scope);
                self.assign(&statement.target, item.clone(), &inside, scope)?;
                if self.evaluate(filter, &inside)?.truth() {
                    kept.push(item.clone());
                }
            }
            self.budget.make_items(kept.len())?;
            items = Items::new(kept)?;
        }
        if items.is_empty() {
            return self.run_inside(&statement.otherwise, scope, out).map(drop);
        }
        let recursion = statement.recursive.then(|| (Arc::clone(statement), Rc::clone(scope)));
        let state = Loop { items: Rc::clone(&items), at: Cell::new(0), depth, seen: RefCell::default(), recursion };
        let object = Rc::new(Object::Loop(state));
        let Object::Loop(state) = &*object else { return Ok(()) };
        let name: Text = "loop".into();
        for (at, item) in items.iter().enumerate() {
            state.at.set(at);
            self.budget.step()?;
            // Each turn has variables of its own.
            let inside = Scope::inside(scope);
            inside.set(name.clone(), Value::Object(Rc::clone(&object)));
            self.assign(&statement.target, item.clone(), &inside, scope)?;
            if self.run(&statement.body, &inside, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// A macro that sees the variables of a scope.
    fn macro_in(&mut self, definition: &Arc<Macro>, scope: &Rc<Scope>) -> Result<Value> {
        self.budget.make(SCOPE_BYTES)?;
        if !self.kept.last().is_some_and(|last| Rc::ptr_eq(last, scope)) {
            self.kept.push(Rc::clone(scope));
        }
        Ok(Value::object(Object::Macro { definition: Arc::clone(definition), scope: Rc::clone(scope) }))
    }

    fn call_block(
        &mut self,
        call: &Expression,
        caller: &Arc<Macro>,
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<()> {
        let ExpressionKind::Call(callee, arguments) = &*call.kind else {
            return Err(Fault::failed("a call block needs a call"));
        };
        let callee = self.evaluate(callee, scope)?;
        let mut args = self.arguments(arguments, scope)?;
        args.keyword.push(("caller".into(), self.macro_in(caller, scope)?));
        let value = self.call(&callee, args)?;
        self.emit(&value, out)
    }

    /// Calls a macro.
    pub fn call_macro(&mut self, definition: &Arc<Macro>, scope: &Rc<Scope>, args: Args) -> Result<Value> {
        self.budget.make(SCOPE_BYTES)?;
        let inside = Scope::inside(scope);
        let name = &definition.name;
        let mut positional = args.positional.into_iter();
        let mut keyword = args.keyword;
        let mut take =
            |wanted: &Text| keyword.iter().position(|(given, _)| given == wanted).map(|at| keyword.remove(at).1);
        for (parameter, default) in &definition.parameters {
            let given = match (positional.next(), take(parameter)) {
                (Some(_), Some(_)) => {
                    return Err(Fault::failed(format!("macro '{name}' got two values for '{parameter}'")));
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
            inside.set(parameter.clone(), value);
        }
        let is_parameter = |wanted: &str| definition.parameters.iter().any(|(name, _)| **name == *wanted);
        if definition.uses.caller && !is_parameter("caller") {
            let caller = take(&"caller".into());
            inside.set(
                "caller".into(),
                caller.unwrap_or_else(|| Value::Undefined(Missing::Other("No caller defined".into()))),
            );
        }
        let rest: Vec<Value> = positional.collect();
        if definition.uses.varargs && !is_parameter("varargs") {
            inside.set("varargs".into(), self.budget.tuple(rest)?);
        } else if !rest.is_empty() {
            let most = definition.parameters.len();
            return Err(Fault::failed(format!("macro '{name}' takes not more than {most} argument(s)")));
        }
        if definition.uses.kwargs && !is_parameter("kwargs") {
            let pairs = keyword.into_iter().map(|(name, value)| (Value::Str(name), value));
            inside.set("kwargs".into(), self.budget.dict(pairs)?);
        } else if let Some((given, _)) = keyword.first() {
            return Err(Fault::failed(format!("macro '{name}' takes no keyword argument '{given}'")));
        }
        self.captured(|machine, out| machine.run(&definition.body, &inside, out).map(drop))
    }
}

/// Sets an attribute of a namespace.
pub(super) fn set_attribute(namespace: &Object, name: &Text, value: Value) -> Result<()> {
    if name.starts_with('_') {
        let message = format!("a namespace cannot have an attribute with an underscore in front, but got '{name}'");
        return Err(Fault::failed(message));
    }
    match namespace {
        Object::Namespace(entries) => {
            let replaced = entries.borrow_mut().insert(name.clone(), value);
            drop(replaced);
            Ok(())
        }
        _ => Err(Fault::failed("cannot assign attribute on non-namespace object")),
    }
}
