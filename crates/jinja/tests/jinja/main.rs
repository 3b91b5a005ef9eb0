//! The engine compared with Jinja2, and with hostile templates.

mod budget;
mod common;
mod marks;
mod sandbox;
mod semantics;
