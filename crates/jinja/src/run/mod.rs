//! Execution of a parsed template.

mod evaluate;
mod execute;
mod filters;
pub(crate) mod functions;
mod html;
mod json;
pub(crate) mod machine;
mod names;
mod numbers;
mod predicates;
mod selection;
