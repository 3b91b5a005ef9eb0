//! Distillation: a student learns the next-token distributions of a teacher.

mod gate;
mod options;
mod plot;
mod report;
mod run;
mod stored;
mod student;

pub use options::{DistilGate, DistilOptions, Student};
pub use report::{DistilReport, DistilSpeed};
pub use run::distil;
