//! Making models small: round-to-nearest and GPTQ onto any grid, layer by layer, with resume.
//!
//! Matrices are upper-case as in the papers: W `[M, K]` a weight, X `[n, K]` inputs, H = X^T X `[K, K]`.
#![forbid(unsafe_code)]

mod calibration;
mod error;
mod factor;
mod gptq;
mod hessian;
mod linalg;
mod parallel;
mod pipeline;
mod saved;
mod scheme;
mod written;

pub use calibration::{Calibration, calibration_texts};
pub use error::CompressError;
pub use factor::{Damping, Factor};
pub use gptq::{Swept, rtn, sweep};
pub use hessian::Hessian;
pub use pipeline::{Compressed, Progress, Report, STEP_ROWS, compress};
pub use scheme::{Fallback, Method, Scheme, Target};
pub use written::check_written;
