//! Arguments of a call that are values already.

use super::budget::Budget;
use super::fault::{Fault, Result, short};
use super::marked::Str;
use super::value::Value;

/// Arguments in their order, and those with a name.
#[derive(Default, Clone)]
pub(super) struct Args {
    pub positional: Vec<Value>,
    pub keyword: Vec<(Str, Value)>,
}

impl Args {
    /// The arguments of `what` by the names of its parameters, of which the first `required` must be there.
    pub fn bind<const N: usize>(self, what: &str, names: [&str; N], required: usize) -> Result<[Option<Value>; N]> {
        let given = self.positional.len();
        if given > N {
            return Err(Fault::failed(format!("{what} takes at most {N} arguments, {given} were given")));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.keyword {
            let slot = names.iter().position(|known| **known == *name).and_then(|at| bound.get_mut(at));
            match slot {
                Some(slot @ None) => *slot = Some(value),
                Some(_) => return Err(Fault::failed(format!("{what} got two values for '{}'", short(&name)))),
                None => return Err(Fault::failed(format!("{what} has no argument '{}'", short(&name)))),
            }
        }
        match bound.iter().zip(names).take(required).find(|(value, _)| value.is_none()) {
            Some((_, name)) => Err(Fault::failed(format!("{what} needs the argument '{name}'"))),
            None => Ok(bound),
        }
    }

    /// The same arguments once more.
    pub fn again(&self, budget: &mut Budget) -> Result<Self> {
        budget.make_items(self.positional.len() + 2 * self.keyword.len())?;
        Ok(self.clone())
    }

    /// Refuses arguments.
    pub fn none(self, what: &str) -> Result<()> {
        self.bind::<0>(what, [], 0).map(|_| ())
    }
}

/// An argument that must be a string.
pub(super) fn text<'v>(what: &str, value: &'v Value) -> Result<&'v Str> {
    match value {
        Value::Undefined(missing) => Err(missing.fault()),
        other => other
            .as_text()
            .ok_or_else(|| Fault::failed(format!("{what} needs a string, not a value of type {}", other.type_name()))),
    }
}

/// An argument that must be an integer.
pub(super) fn int(what: &str, value: &Value) -> Result<i128> {
    match value {
        Value::Undefined(missing) => Err(missing.fault()),
        other => other.as_int().ok_or_else(|| {
            Fault::failed(format!("{what} needs an integer, not a value of type {}", other.type_name()))
        }),
    }
}

/// An argument that must be an integer, as a size: negative ones are zero.
pub(super) fn size(what: &str, value: &Value) -> Result<usize> {
    Ok(usize::try_from(int(what, value)?.max(0)).unwrap_or(usize::MAX))
}
