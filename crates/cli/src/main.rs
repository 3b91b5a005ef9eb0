//! The honelm command.
fn main() {}
