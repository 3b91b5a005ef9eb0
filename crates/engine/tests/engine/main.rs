//! Generation with a scripted model and with the shipped one.

mod chat;
mod common;
mod driver;
mod generation;
mod pocket;
mod schedule;
