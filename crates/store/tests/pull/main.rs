//! Pulls from a Hub that works, and from one that does not.

mod common;
mod hostile;
mod layout;
mod resume;
mod tokens;
