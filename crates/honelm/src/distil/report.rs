//! The result of a distillation.

use std::path::PathBuf;

use honelm_eval::Verdict;
use honelm_train::Measured;
use serde::Serialize;

use crate::StageTime;
use crate::optimize::{GateResult, Quality};

/// The result of [`crate::distil`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistilReport {
    /// The written folder.
    pub path: PathBuf,
    /// The size of the files that hold the weights, in bytes.
    pub size_bytes: u64,
    /// The number type of the weights.
    pub dtype: String,
    /// The number of the teacher's parameters.
    pub teacher_parameters: u64,
    /// The number of the student's parameters.
    pub student_parameters: u64,
    /// The number of different tokens of the training samples.
    pub text_tokens: u64,
    /// The number of tokens of all steps that were taken, with repetitions.
    pub tokens: u64,
    /// The number of steps that were taken.
    pub steps: u32,
    /// The measurement before the first step.
    pub before: Measured,
    /// The measurement of the state that was written.
    pub after: Measured,
    /// All measurements on the held-out samples.
    pub curve: Vec<Measured>,
    /// The problem at which training ended; the written state is the best one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The speed of the steps of this run; `None` if it took none.
    pub speed: Option<DistilSpeed>,
    /// The time that each part of the work took in this run.
    pub stages: Vec<StageTime>,
    /// The results of the gates; empty without limits.
    pub gates: Vec<GateResult>,
    /// The verdict of all gates; `None` without limits.
    pub verdict: Option<Verdict>,
    /// The quality on the text of the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Warnings of the job.
    pub warnings: Vec<String>,
}

/// The speed of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DistilSpeed {
    /// The tokens of the steps per second, measurements included.
    pub tokens_per_second: f64,
    /// The floating-point operations per second that matrix products with weights need: 6 per weight and token of the student, 2 of
    /// the teacher where it runs, 2 of both for measurements.
    pub operations_per_second: f64,
    /// The rate of multiply-adds in single precision that these threads reach in registers, each counted as two operations.
    pub peak_operations_per_second: f64,
}
