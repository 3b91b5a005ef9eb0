//! Variables.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::Text;
use super::budget::Budget;
use super::fault::Result;
use super::release::release;
use super::value::Value;

/// Bytes that a scope takes, its first variable included.
const SCOPE_BYTES: usize = 256;
/// Bytes that a variable takes.
const VARIABLE_BYTES: usize = 128;

/// Variables with the scope around them. A macro keeps the scope that it was made in, as Python's functions do.
#[derive(Default)]
pub(crate) struct Scope {
    variables: RefCell<HashMap<Text, Value>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    /// A scope inside another.
    pub fn inside(parent: &Rc<Self>, budget: &mut Budget) -> Result<Rc<Self>> {
        budget.touch(SCOPE_BYTES)?;
        Ok(Rc::new(Self { variables: RefCell::default(), parent: Some(Rc::clone(parent)) }))
    }

    /// Sets a variable here.
    pub fn set(&self, name: Text, value: Value, budget: &mut Budget) -> Result<()> {
        budget.touch(name.len().saturating_add(VARIABLE_BYTES))?;
        let replaced = self.variables.borrow_mut().insert(name, value);
        drop(replaced);
        Ok(())
    }

    /// A variable of this scope or of the nearest around it.
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

    /// Forgets all variables, so that scopes and macros that hold each other can go.
    pub fn clear(&self) {
        let variables = std::mem::take(&mut *self.variables.borrow_mut());
        drop(variables);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        release(self.variables.get_mut().drain().map(|(_, value)| value));
        // Scopes around it that nothing else holds go one by one, not each inside the one before.
        let mut parent = self.parent.take();
        while let Some(mut scope) = parent.take().and_then(Rc::into_inner) {
            parent = scope.parent.take();
        }
    }
}
