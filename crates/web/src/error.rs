use std::fmt;

use honelm_backend::BackendError;
use honelm_chunks::ChunkError;
use honelm_engine::EngineError;
use honelm_eval::EvalError;
use honelm_formats::FormatError;
use honelm_gpu::GpuError;
use honelm_model::ModelError;
use honelm_plan::PlanError;
use honelm_text::TextError;
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};

use crate::gpu::NoGpu;

/// An error with a stable code. JavaScript receives an `Error` with the property `code`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// A file violates its format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The model cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The memory of the model cannot be computed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The tokenizer or template cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The answer cannot be given.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The comparison cannot be made.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The stored model cannot be used.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The GPU was requested and cannot be used.
    #[error(transparent)]
    NoGpu(#[from] NoGpu),
    /// The device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The page failed to read a file; this is its own error, unchanged.
    #[error("{0}")]
    Page(PageError),
    /// A file that the model needs is missing.
    #[error("{file}: file not found")]
    FileNotFound {
        /// The name of the file.
        file: String,
    },
    /// A part of a file does not fit in the wasm heap.
    #[error("{file}: {bytes} bytes do not fit in this tab's memory")]
    HeapFull {
        /// The name of the file.
        file: String,
        /// The number of bytes that were needed at once.
        bytes: u64,
    },
    /// The folder has no tokenizer.
    #[error("no tokenizer: expected one of {expected}")]
    NoTokenizer {
        /// The names of possible files.
        expected: String,
    },
    /// An argument is invalid.
    #[error("{name}: {problem}")]
    InvalidArgument {
        /// The name of the argument.
        name: &'static str,
        /// The problem with it.
        problem: String,
    },
    /// The work was ended by the page.
    #[error("interrupted")]
    Interrupted,
    /// The files are not those that the model was loaded from.
    #[error("the files are not those that the model was loaded from; load the model again")]
    OtherModel,
    /// An answer was requested while another is being written.
    #[error("the model is writing an answer; wait for it or abort it first")]
    Busy,
}

/// An error of the page's own code, as thrown.
#[derive(Debug)]
pub struct PageError(JsValue);

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.dyn_ref::<js_sys::Error>() {
            Some(error) => f.write_str(&String::from(error.message())),
            None => write!(f, "{:?}", self.0),
        }
    }
}

impl WebError {
    /// Returns `true` if the device failed, so that another device may succeed.
    pub(crate) fn is_of_device(&self) -> bool {
        matches!(self, Self::Backend(_) | Self::NoGpu(_) | Self::Model(ModelError::Backend(_)))
    }

    /// Returns a stable name for programs; for the page's own errors, their own.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Plan(error) => error.code(),
            Self::Text(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Eval(error) => error.code(),
            Self::Chunk(error) => error.code(),
            Self::Backend(error) => error.code(),
            Self::NoGpu(NoGpu::NoAdapter | NoGpu::Software(_)) => GpuError::NoAdapter.code(),
            Self::NoGpu(NoGpu::Gpu(error)) => error.code(),
            Self::NoGpu(NoGpu::Backend(error)) => error.code(),
            Self::Page(_) => "page",
            Self::FileNotFound { .. } => "file-not-found",
            Self::HeapFull { .. } => "out-of-memory",
            Self::NoTokenizer { .. } => "no-tokenizer",
            Self::InvalidArgument { .. } => "invalid-argument",
            Self::Interrupted => "interrupted",
            Self::OtherModel => "file-changed",
            Self::Busy => "busy",
        }
    }
}

impl From<JsValue> for WebError {
    fn from(thrown: JsValue) -> Self {
        Self::Page(PageError(thrown))
    }
}

impl From<WebError> for JsValue {
    fn from(error: WebError) -> Self {
        if let WebError::Page(PageError(thrown)) = error {
            return thrown;
        }
        let (code, made) = (error.code(), js_sys::Error::new(&error.to_string()));
        // Setting a property of a new object cannot fail.
        let _ = Reflect::set(&made, &"code".into(), &code.into());
        made.into()
    }
}
