//! The global functions.

use std::cell::{Cell, RefCell};

use crate::budget::Budget;
use crate::clock::MAX_GROWTH;
use crate::error::{Error, ErrorKind, Result};
use crate::python::arguments::{Args, int, text};
use crate::python::sequences;
use crate::run::machine::Machine;
use crate::syntax::ast::Text;
use crate::value::collections::Items;
use crate::value::marked::Str;
use crate::value::{Function, Object, ObjectKind, Value};

/// The longest range, as in Jinja2's sandbox.
const MAX_RANGE: i128 = 100_000;

/// The functions by name. `strftime_now` is defined only if there is a clock.
pub(crate) const FUNCTIONS: [(&str, Function); 6] = [
    ("range", Function::Range),
    ("dict", Function::Dict),
    ("namespace", Function::Namespace),
    ("cycler", Function::Cycler),
    ("joiner", Function::Joiner),
    ("raise_exception", Function::RaiseException),
];

/// Calls a function.
pub(crate) fn call(machine: &mut Machine, function: Function, args: Args) -> Result<Value> {
    match function {
        Function::Range => range(args),
        Function::Dict => {
            let pairs = pairs(machine, "dict", args)?;
            machine.budget.dict(pairs)
        }
        Function::FromKeys => {
            let [keys, value] = args.bind("fromkeys", ["iterable", "value"], 1)?;
            let keys = sequences::items(&keys.unwrap_or(Value::None), &mut machine.budget)?;
            let value = value.unwrap_or(Value::None);
            machine.budget.dict(keys.iter().map(|key| (key.clone(), value.clone())))
        }
        Function::Namespace => {
            let pairs = pairs(machine, "namespace", args)?;
            let object = Object::new(ObjectKind::Namespace(RefCell::default()));
            machine.budget.make(256)?;
            for (key, value) in pairs {
                let name = key.as_text().ok_or_else(|| Error::failed("the names of attributes must be strings"))?;
                set_attribute(object.kind(), name.text(), value, &mut machine.budget)?;
            }
            machine.changing.push(object.clone());
            Ok(Value::Object(object))
        }
        Function::Cycler => {
            if args.positional.is_empty() || !args.keyword.is_empty() {
                return Err(Error::failed("cycler needs items"));
            }
            machine.budget.make_items(args.positional.len())?;
            Ok(Value::object(ObjectKind::Cycler { items: Items::new(args.positional)?, at: Cell::new(0) }))
        }
        Function::Joiner => {
            let [separator] = args.bind("joiner", ["sep"], 0)?;
            let separator = separator.unwrap_or_else(|| Value::str(", "));
            machine.budget.make(64)?;
            Ok(Value::object(ObjectKind::Joiner { separator, used: Cell::new(false) }))
        }
        Function::RaiseException => {
            let [message] = args.bind("raise_exception", ["message"], 1)?;
            let message = crate::python::text::string(&message.unwrap_or(Value::None), &mut machine.budget)?;
            machine.budget.touch(message.len())?;
            Err(Error { kind: ErrorKind::Raised(message.to_string()), line: 0 })
        }
        Function::StrftimeNow => {
            let [format] = args.bind("strftime_now", ["format"], 1)?;
            let format = format.unwrap_or(Value::None);
            let clock = machine.clock.ok_or_else(|| Error::failed("strftime_now needs a clock"))?;
            let format = text("strftime_now", &format)?;
            machine.budget.make(format.len().saturating_mul(MAX_GROWTH))?;
            Ok(Value::Str(Str::marked(clock.strftime(format), format.is_outside())))
        }
    }
}

fn range(args: Args) -> Result<Value> {
    let [first, second, step] = args.bind("range", ["start", "stop", "step"], 1)?;
    let number = |value: Option<Value>, other: i128| value.map_or(Ok(other), |value| int("range", &value));
    let first = number(first, 0)?;
    let (start, stop) = match second {
        Some(stop) => (first, int("range", &stop)?),
        None => (0, first),
    };
    let step = number(step, 1)?;
    if step == 0 {
        return Err(Error::failed("range() arg 3 must not be zero"));
    }
    let distance = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) };
    let len = distance.and_then(|distance| {
        let step = step.checked_abs()?;
        Some(distance.max(0).checked_add(step - 1)? / step)
    });
    match len.filter(|len| *len <= MAX_RANGE) {
        Some(len) => Ok(Value::object(ObjectKind::Range { start, step, len: usize::try_from(len).unwrap_or(0) })),
        None => {
            Err(Error::failed(format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE}).")))
        }
    }
}

/// Returns the entries of `dict(...)` or `namespace(...)`.
fn pairs(machine: &mut Machine, what: &str, args: Args) -> Result<Vec<(Value, Value)>> {
    let mut pairs = Vec::new();
    if args.positional.len() > 1 {
        return Err(Error::failed(format!("{what} expected at most 1 argument, got {}", args.positional.len())));
    }
    match args.positional.first() {
        None => {}
        Some(Value::Dict(dict)) => {
            machine.budget.make_items(2 * dict.len())?;
            pairs.extend(dict.iter().cloned());
        }
        Some(Value::Undefined(missing)) => return Err(missing.error()),
        Some(list) => {
            for item in sequences::items(list, &mut machine.budget)?.iter() {
                machine.budget.make_items(2)?;
                match &sequences::items(item, &mut machine.budget)?[..] {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(Error::failed(format!("{what} needs pairs"))),
                }
            }
        }
    }
    pairs.extend(args.keyword.into_iter().map(|(name, value)| (Value::Str(name), value)));
    Ok(pairs)
}

/// Sets an attribute of a namespace.
pub(crate) fn set_attribute(namespace: &ObjectKind, name: &Text, value: Value, budget: &mut Budget) -> Result<()> {
    budget.make(name.len())?;
    if name.starts_with('_') {
        let message = format!("an attribute of a namespace cannot begin with an underscore, found '{name}'");
        return Err(Error::failed(message));
    }
    match namespace {
        ObjectKind::Namespace(entries) => {
            let replaced = entries.borrow_mut().insert(name.clone(), value);
            drop(replaced);
            Ok(())
        }
        _ => Err(Error::failed("cannot assign attribute on non-namespace object")),
    }
}
