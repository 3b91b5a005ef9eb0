//! Pulling from a Hub that behaves, and from one that does not.

mod common;
mod hostile;
mod layout;
mod resume;
mod tokens;
