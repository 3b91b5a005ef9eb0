use std::fmt;

use honelm_backend::BackendError;
use honelm_engine::EngineError;
use honelm_eval::EvalError;
use honelm_formats::FormatError;
use honelm_gpu::GpuError;
use honelm_model::ModelError;
use honelm_text::TextError;
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};

use crate::gpu::NoGpu;

/// What can go wrong, each with a stable code; JavaScript sees an `Error` with the property `code`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// A file that breaks its format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model that cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tokenizer or template that cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An answer that cannot be given.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A comparison that cannot be done.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A GPU that was asked for and cannot be used.
    #[error(transparent)]
    NoGpu(#[from] NoGpu),
    /// A device that refuses.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The page could not give the bytes of a file; its own error, passed on as it came.
    #[error("{0}")]
    Page(PageError),
    /// A file that a model needs.
    #[error("{file} was not found")]
    FileNotFound {
        /// The file.
        file: String,
    },
    /// A part of a file that the wasm heap has no room for.
    #[error(
        "{file}: no room for {bytes} bytes in this tab's memory; a smaller model or a smaller quantisation may fit"
    )]
    HeapFull {
        /// The file.
        file: String,
        /// Bytes that were needed at once.
        bytes: u64,
    },
    /// A folder without a tokenizer.
    #[error("no tokenizer: none of {expected} was found")]
    NoTokenizer {
        /// What may be there.
        expected: String,
    },
    /// An argument that has no meaning.
    #[error("{name}: {problem}")]
    InvalidArgument {
        /// The argument.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A second answer while one is being written.
    #[error("the model is writing an answer: wait for it, or abort it first")]
    Busy,
}

/// An error of the page's own, as JavaScript threw it.
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
    /// Whether it is the device that refuses, so that another one may not.
    pub(crate) fn is_of_device(&self) -> bool {
        matches!(self, Self::Backend(_) | Self::NoGpu(_) | Self::Model(ModelError::Backend(_)))
    }

    /// A stable name for programs; of the page's errors their own.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Text(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Eval(error) => error.code(),
            Self::Backend(error) => error.code(),
            Self::NoGpu(NoGpu::NoAdapter | NoGpu::Software(_)) => GpuError::NoAdapter.code(),
            Self::NoGpu(NoGpu::Gpu(error)) => error.code(),
            Self::NoGpu(NoGpu::Backend(error)) => error.code(),
            Self::Page(_) => "page",
            Self::FileNotFound { .. } => "file-not-found",
            Self::HeapFull { .. } => "out-of-memory",
            Self::NoTokenizer { .. } => "no-tokenizer",
            Self::InvalidArgument { .. } => "invalid-argument",
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
        // An object that was just made takes properties.
        let _ = Reflect::set(&made, &"code".into(), &code.into());
        made.into()
    }
}
