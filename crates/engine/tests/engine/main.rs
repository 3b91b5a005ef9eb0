//! Generation with a scripted model and with the shipped one.

mod chat;
mod common;
mod generation;
mod pocket;
