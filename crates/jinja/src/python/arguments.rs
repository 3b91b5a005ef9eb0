//! The evaluated arguments of a call.

use crate::budget::Budget;
use crate::error::{Error, Result, short};
use crate::value::Value;
use crate::value::marked::Str;

/// Positional and keyword arguments.
#[derive(Default, Clone)]
pub(crate) struct Args {
    pub positional: Vec<Value>,
    pub keyword: Vec<(Str, Value)>,
}

impl Args {
    /// Binds the arguments of the function `what` to its parameters. The first `required` parameters must be given.
    pub fn bind<const N: usize>(self, what: &str, names: [&str; N], required: usize) -> Result<[Option<Value>; N]> {
        let given = self.positional.len();
        if given > N {
            return Err(Error::failed(format!("{what} takes at most {N} arguments, found {given}")));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.keyword {
            let slot = names.iter().position(|known| **known == *name).and_then(|at| bound.get_mut(at));
            match slot {
                Some(slot @ None) => *slot = Some(value),
                Some(_) => return Err(Error::failed(format!("{what} got two values for '{}'", short(&name)))),
                None => return Err(Error::failed(format!("{what} has no argument '{}'", short(&name)))),
            }
        }
        match bound.iter().zip(names).take(required).find(|(value, _)| value.is_none()) {
            Some((_, name)) => Err(Error::failed(format!("{what} needs the argument '{name}'"))),
            None => Ok(bound),
        }
    }

    /// Clones the arguments.
    pub fn again(&self, budget: &mut Budget) -> Result<Self> {
        budget.make_items(self.positional.len() + 2 * self.keyword.len())?;
        Ok(self.clone())
    }

    /// Checks that there are no arguments.
    pub fn none(self, what: &str) -> Result<()> {
        self.bind::<0>(what, [], 0).map(|_| ())
    }
}

/// Returns an argument that must be a string.
pub(crate) fn text<'v>(what: &str, value: &'v Value) -> Result<&'v Str> {
    match value {
        Value::Undefined(missing) => Err(missing.error()),
        other => other.as_text().ok_or_else(|| {
            Error::failed(format!("{what} needs a string, found a value of type {}", other.type_name()))
        }),
    }
}

/// Returns an argument that must be an integer.
pub(crate) fn int(what: &str, value: &Value) -> Result<i128> {
    match value {
        Value::Undefined(missing) => Err(missing.error()),
        other => other.as_int().ok_or_else(|| {
            Error::failed(format!("{what} needs an integer, found a value of type {}", other.type_name()))
        }),
    }
}

/// Returns an argument that must be an integer as a size. Negative sizes become 0.
pub(crate) fn size(what: &str, value: &Value) -> Result<usize> {
    Ok(usize::try_from(int(what, value)?.max(0)).unwrap_or(usize::MAX))
}
