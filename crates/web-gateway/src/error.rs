use honelm_gateway::GatewayError;
use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// An error with a stable code. JavaScript receives an `Error` with the property `code`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebGatewayError {
    /// The gateway cannot do it.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// An argument is invalid.
    #[error("{name}: {problem}")]
    InvalidArgument {
        /// The name of the argument.
        name: &'static str,
        /// The problem with it.
        problem: String,
    },
}

impl WebGatewayError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gateway(error) => error.code(),
            Self::InvalidArgument { .. } => "invalid-argument",
        }
    }
}

impl From<WebGatewayError> for JsValue {
    fn from(error: WebGatewayError) -> Self {
        let (code, made) = (error.code(), js_sys::Error::new(&error.to_string()));
        // Setting a property of a new object cannot fail.
        let _ = Reflect::set(&made, &"code".into(), &code.into());
        made.into()
    }
}
