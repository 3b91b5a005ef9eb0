//! HoneLM in a browser tab: the wasm package, which runs in a dedicated worker.
//!
//! The page's code provides the bytes of a model ([`ModelFiles`]) and receives progress and text through callbacks. Everything
//! else (formats, tokenizer, chat template, kernels, sampling) is the same code as natively. Settings, messages and answers are
//! JSON text in the form of `honelm --json`; the TypeScript around this package (`web/src/honelm`) gives them types. There is
//! one thread, and no cross-origin isolation.
#![forbid(unsafe_code)]

mod answer;
mod both;
mod breathe;
mod check;
mod chosen;
mod device;
mod error;
mod files;
mod gpu;
mod load;
mod model;
mod options;
mod plan;
mod platform;
mod probe;
mod store;

use js_sys::Function;
use serde_json::Value;
use wasm_bindgen::JsValue;

pub use error::WebError;
pub use files::ModelFiles;
pub use model::{WebModel, version};
pub use plan::plan;
pub use probe::probe;
pub use store::{StoreHash, StoreRecord, judge_reply, model_files, model_shards, sha256};

/// Passes a document to a callback. An exception in the callback is ignored.
pub(crate) fn tell(callback: &Function, document: &Value) {
    let _ = callback.call1(&JsValue::NULL, &JsValue::from_str(&document.to_string()));
}
