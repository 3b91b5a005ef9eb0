//! Scopes of variables.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::budget::Budget;
use crate::error::Result;
use crate::syntax::ast::Text;
use crate::value::Value;
use crate::value::release::release;

/// The size of a scope with one variable, in bytes.
const SCOPE_BYTES: usize = 256;
/// The size of a variable, in bytes.
const VARIABLE_BYTES: usize = 128;

/// Variables and their enclosing scope. A macro keeps the scope where it was defined, as Python's functions do.
#[derive(Default)]
pub(crate) struct Scope {
    variables: RefCell<HashMap<Text, Value>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    /// Makes a scope inside another.
    pub fn inside(parent: &Rc<Self>, budget: &mut Budget) -> Result<Rc<Self>> {
        budget.touch(SCOPE_BYTES)?;
        Ok(Rc::new(Self { variables: RefCell::default(), parent: Some(Rc::clone(parent)) }))
    }

    /// Sets a variable of this scope.
    pub fn set(&self, name: Text, value: Value, budget: &mut Budget) -> Result<()> {
        budget.touch(name.len().saturating_add(VARIABLE_BYTES))?;
        let replaced = self.variables.borrow_mut().insert(name, value);
        drop(replaced);
        Ok(())
    }

    /// Returns the variable of this scope or of the nearest enclosing scope.
    pub fn get(&self, name: &str, budget: &mut Budget) -> Result<Option<Value>> {
        let mut scope = self;
        loop {
            budget.touch(name.len())?;
            if let Some(value) = scope.variables.borrow().get(name) {
                return Ok(Some(value.clone()));
            }
            match &scope.parent {
                Some(parent) => scope = parent,
                None => return Ok(None),
            }
        }
    }

    /// Removes all variables. This breaks reference cycles between scopes and macros.
    pub fn clear(&self) {
        let variables = std::mem::take(&mut *self.variables.borrow_mut());
        drop(variables);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        release(self.variables.get_mut().drain().map(|(_, value)| value));
        // Enclosing scopes are freed in a loop rather than recursively.
        let mut parent = self.parent.take();
        while let Some(mut scope) = parent.take().and_then(Rc::into_inner) {
            parent = scope.parent.take();
        }
    }
}
