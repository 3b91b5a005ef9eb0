/// An error that prevents the use of a GPU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The machine, or the browser, has no adapter.
    #[error("no GPU adapter was found: install a Vulkan, Metal or DX12 driver, or use the CPU")]
    NoAdapter,
    /// There is no adapter with this number.
    #[error("gpu:{index}: no such adapter: expected a number from 0 to {last}")]
    NoSuchAdapter {
        /// The number that was given.
        index: usize,
        /// The last valid number.
        last: usize,
    },
    /// A limit of the adapter is below the need of the kernels.
    #[error("{adapter}: {limit} is too small: found {found}, expected at least {needed}; use the CPU or another GPU")]
    LimitTooSmall {
        /// The name of the adapter.
        adapter: String,
        /// The WebGPU name of the limit.
        limit: &'static str,
        /// The adapter's value.
        found: u64,
        /// The value that the kernels need.
        needed: u64,
    },
    /// The driver failed to open the device.
    #[error("{adapter}: the device cannot be opened: {reason}")]
    NotOpened {
        /// The name of the adapter.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// The device failed the known-answer test: models would give wrong results on it.
    #[error("{adapter}: the known-answer test failed: {problem}; update the driver, or use the CPU")]
    WrongAnswers {
        /// The name of the adapter.
        adapter: String,
        /// The first wrong result and the expected one.
        problem: String,
    },
}

impl GpuError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAdapter => "no-adapter",
            Self::NoSuchAdapter { .. } => "no-such-adapter",
            Self::LimitTooSmall { .. } => "limit-too-small",
            Self::NotOpened { .. } => "adapter-not-opened",
            Self::WrongAnswers { .. } => "wrong-answers",
        }
    }
}
