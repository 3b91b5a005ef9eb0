//! Evaluation of expressions.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::python::arguments::Args;
use crate::python::{attributes, compare, methods, operators, sequences, text};
use crate::run::machine::Machine;
use crate::run::{filters, functions, predicates};
use crate::syntax::ast::{Arguments, Expression, ExpressionKind, Literal};
use crate::value::marked::{Builder, Str};
use crate::value::scope::Scope;
use crate::value::{Loop, Missing, ObjectKind, Value};

impl Machine {
    /// Evaluates an expression.
    pub fn evaluate(&mut self, expression: &Expression, scope: &Rc<Scope>) -> Result<Value> {
        self.budget.enter().map_err(|error| error.at(expression.line))?;
        let value = self.kind(&expression.kind, scope);
        self.budget.leave();
        value.map_err(|error| error.at(expression.line))
    }

    fn kind(&mut self, kind: &ExpressionKind, scope: &Rc<Scope>) -> Result<Value> {
        match kind {
            ExpressionKind::Literal(literal) => Ok(match literal {
                Literal::None => Value::None,
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Int(value) => Value::Int(*value),
                Literal::Float(value) => Value::Float(*value),
                Literal::Str(text) => Value::Str(Str::own(text.clone())),
            }),
            ExpressionKind::Name(name) => {
                let found = scope.get(name, &mut self.budget)?;
                Ok(found.unwrap_or_else(|| Value::Undefined(Missing::Name(name.clone()))))
            }
            ExpressionKind::Attribute(value, name) => {
                let value = self.evaluate(value, scope)?;
                attributes::attribute(&value, name, &mut self.budget)
            }
            ExpressionKind::And(left, right) => {
                let left = self.evaluate(left, scope)?;
                if left.truth() { self.evaluate(right, scope) } else { Ok(left) }
            }
            ExpressionKind::Or(left, right) => {
                let left = self.evaluate(left, scope)?;
                if left.truth() { Ok(left) } else { self.evaluate(right, scope) }
            }
            ExpressionKind::Not(value) => Ok(Value::Bool(!self.evaluate(value, scope)?.truth())),
            ExpressionKind::Conditional { condition, value, otherwise } => {
                if self.evaluate(condition, scope)?.truth() {
                    return self.evaluate(value, scope);
                }
                match otherwise {
                    Some(otherwise) => self.evaluate(otherwise, scope),
                    None => {
                        let words = "the inline if-expression evaluated to false and no else section was defined";
                        Ok(Value::Undefined(Missing::Other(words.into())))
                    }
                }
            }
            ExpressionKind::Filter(value, filter) => {
                let value = self.evaluate(value, scope)?;
                let args = self.arguments(&filter.arguments, scope)?;
                self.filter(&filter.name, value, args).map_err(|error| error.at(filter.line))
            }
            ExpressionKind::Test { value, name, arguments, negated } => {
                let value = self.evaluate(value, scope)?;
                let args = self.arguments(arguments, scope)?;
                Ok(Value::Bool(predicates::holds(self, name, &value, args)? != *negated))
            }
            ExpressionKind::Call(callee, arguments) => {
                let callee = self.evaluate(callee, scope)?;
                let args = self.arguments(arguments, scope)?;
                self.call(&callee, args)
            }
            other => self.operation(other, scope),
        }
    }

    /// Evaluates operators, and expressions that build collections.
    fn operation(&mut self, kind: &ExpressionKind, scope: &Rc<Scope>) -> Result<Value> {
        match kind {
            ExpressionKind::List(items) => {
                let values = self.all(items, scope)?;
                self.budget.list(values)
            }
            ExpressionKind::Tuple(items) => {
                let values = self.all(items, scope)?;
                self.budget.tuple(values)
            }
            ExpressionKind::Dict(pairs) => {
                let mut entries = Vec::new();
                for (key, value) in pairs {
                    entries.push((self.evaluate(key, scope)?, self.evaluate(value, scope)?));
                }
                self.budget.dict(entries)
            }
            ExpressionKind::Negative(value) => operators::signed(&self.evaluate(value, scope)?, true),
            ExpressionKind::Positive(value) => operators::signed(&self.evaluate(value, scope)?, false),
            ExpressionKind::Binary(operator, left, right) => {
                let (left, right) = (self.evaluate(left, scope)?, self.evaluate(right, scope)?);
                operators::binary(*operator, &left, &right, &mut self.budget)
            }
            ExpressionKind::Compare(first, others) => {
                let mut left = self.evaluate(first, scope)?;
                for (comparison, right) in others {
                    let right = self.evaluate(right, scope)?;
                    if !compare::compare(*comparison, &left, &right, &mut self.budget)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            ExpressionKind::Concat(parts) => {
                let mut joined = Builder::default();
                for part in parts {
                    let value = self.evaluate(part, scope)?;
                    text::write_string(&value, &mut joined, &mut self.budget)?;
                }
                Ok(Value::Str(joined.finish(&mut self.budget)?))
            }
            ExpressionKind::Item(value, key) => {
                let (value, key) = (self.evaluate(value, scope)?, self.evaluate(key, scope)?);
                attributes::item(&value, &key, &mut self.budget)
            }
            ExpressionKind::Slice(value, bounds) => {
                let value = self.evaluate(value, scope)?;
                let mut numbers = [const { None }; 3];
                for (number, bound) in numbers.iter_mut().zip(bounds) {
                    *number = bound.as_ref().map(|bound| self.evaluate(bound, scope)).transpose()?;
                }
                sequences::slice(&value, numbers, &mut self.budget)
            }
            // `kind` handles all other expressions.
            _ => Err(Error::failed("unknown expression")),
        }
    }

    fn all(&mut self, expressions: &[Expression], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        expressions.iter().map(|expression| self.evaluate(expression, scope)).collect()
    }

    /// Evaluates arguments.
    pub fn arguments(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Result<Args> {
        let mut args = Args { positional: self.all(&arguments.positional, scope)?, keyword: Vec::new() };
        for (name, value) in &arguments.keyword {
            args.keyword.push((Str::own(name.clone()), self.evaluate(value, scope)?));
        }
        if let Some(rest) = &arguments.rest {
            let rest = self.evaluate(rest, scope)?;
            let items = sequences::items(&rest, &mut self.budget)?;
            self.budget.make_items(items.len())?;
            args.positional.extend(items.iter().cloned());
        }
        if let Some(rest) = &arguments.keyword_rest {
            let rest = self.evaluate(rest, scope)?;
            let Some(dict) = rest.as_dict() else {
                return Err(Error::failed("the argument after ** must be a dictionary"));
            };
            self.budget.make_items(2 * dict.len())?;
            for (key, value) in dict.iter() {
                let name = key.as_text().ok_or_else(|| Error::failed("keywords must be strings"))?;
                args.keyword.push((name.clone(), value.clone()));
            }
        }
        Ok(args)
    }

    /// Applies a filter.
    pub fn filter(&mut self, name: &str, value: Value, args: Args) -> Result<Value> {
        filters::apply(self, name, value, args)
    }

    /// Calls a value.
    pub fn call(&mut self, callee: &Value, args: Args) -> Result<Value> {
        let refused = || Error::failed(format!("'{}' object is not callable", callee.type_name()));
        match callee {
            Value::Undefined(missing) => Err(missing.error()),
            Value::Object(object) => match object.kind() {
                ObjectKind::Function(function) => functions::call(self, *function, args),
                ObjectKind::Method(owner, name) => {
                    if let Value::Object(object) = owner
                        && matches!(object.kind(), ObjectKind::Loop(_))
                        && !self.changing.last().is_some_and(|last| last.is(object))
                    {
                        self.budget.make(0)?;
                        self.changing.push(object.clone());
                    }
                    methods::call(owner, name, args, &mut self.budget)
                }
                ObjectKind::Macro { definition, scope } => self.call_macro(definition, scope, args),
                ObjectKind::Loop(state) => self.recurse(state, args),
                ObjectKind::Joiner { separator, used } => {
                    args.none("joiner")?;
                    Ok(if used.replace(true) { separator.clone() } else { Value::str("") })
                }
                _ => Err(refused()),
            },
            _ => Err(refused()),
        }
    }

    /// Evaluates `loop(items)` in a recursive loop.
    fn recurse(&mut self, state: &Loop, args: Args) -> Result<Value> {
        let Some((statement, scope)) = &state.recursion else {
            return Err(Error::failed("the loop must be recursive to be called"));
        };
        let [values] = args.bind("loop", ["iterable"], 1)?;
        let values = values.unwrap_or(Value::None);
        let (statement, scope, depth) = (statement.clone(), Rc::clone(scope), state.depth + 1);
        self.captured(|machine, out| machine.run_loop(&statement, &values, &scope, depth, out).map(drop))
    }

    /// Captures the text that `write` writes as a string.
    pub fn captured(&mut self, write: impl FnOnce(&mut Self, &mut Builder) -> Result<()>) -> Result<Value> {
        let mut out = Builder::default();
        let outer = std::mem::replace(&mut self.capturing, true);
        let written = write(self, &mut out);
        self.capturing = outer;
        written?;
        Ok(Value::Str(out.finish(&mut self.budget)?))
    }
}
