//! HoneLM in a browser tab: the wasm package, made for a dedicated worker.
//!
//! The page's side gives the bytes of a model ([`ModelFiles`]) and hears of progress and text through callbacks;
//! everything else (formats, tokenizer, chat template, kernels, sampling) is the same code as natively. Settings,
//! messages and answers cross the border as JSON text in the form that `honelm --json` has; the TypeScript around this
//! package (`web/src/honelm`) gives them types. One thread, no cross-origin isolation.
#![forbid(unsafe_code)]

mod breathe;
mod check;
mod device;
mod error;
mod files;
mod gpu;
mod load;
mod model;
mod options;
mod platform;

pub use error::WebError;
pub use files::ModelFiles;
pub use model::{WebModel, version};
