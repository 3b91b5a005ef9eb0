//! Variables.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::Text;
use super::value::Value;

/// Variables with the scope around them. A macro keeps the scope that it was made in, as Python's functions do.
#[derive(Default)]
pub(crate) struct Scope {
    variables: RefCell<HashMap<Text, Value>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    /// A scope inside another.
    pub fn inside(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), parent: Some(Rc::clone(parent)) })
    }

    /// Sets a variable here.
    pub fn set(&self, name: Text, value: Value) {
        self.variables.borrow_mut().insert(name, value);
    }

    /// A variable of this scope or of the nearest around it.
    pub fn get(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.variables.borrow().get(name) {
                return Some(value.clone());
            }
            scope = scope.parent.as_deref()?;
        }
    }

    /// Forgets all variables, so that scopes and macros that hold each other can go.
    pub fn clear(&self) {
        let variables = std::mem::take(&mut *self.variables.borrow_mut());
        drop(variables);
    }
}
