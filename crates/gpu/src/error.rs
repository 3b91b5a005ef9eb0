/// Why there is no GPU to run on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The machine, or the browser, offers no adapter.
    #[error("no GPU adapter was found: install a Vulkan, Metal or DX12 driver, or use the CPU")]
    NoAdapter,
    /// An adapter number that there is none of.
    #[error("there is no GPU adapter {index}, only 0 to {last}")]
    NoSuchAdapter {
        /// The number asked for.
        index: usize,
        /// The last one that exists.
        last: usize,
    },
    /// An adapter that cannot run the kernels.
    #[error("{adapter} is too small: {limit} is {found}, at least {needed} is needed")]
    LimitTooSmall {
        /// The adapter's name.
        adapter: String,
        /// WebGPU's name of the limit.
        limit: &'static str,
        /// What the adapter has.
        found: u64,
        /// What the kernels need.
        needed: u64,
    },
    /// The driver refused to open the device.
    #[error("{adapter} could not be opened: {reason}")]
    NotOpened {
        /// The adapter's name.
        adapter: String,
        /// What the driver says.
        reason: String,
    },
    /// Its kernels are wrong: models would run on it and talk nonsense.
    #[error("{adapter} gives wrong answers ({problem}): update its driver, or use the CPU")]
    WrongAnswers {
        /// The adapter's name.
        adapter: String,
        /// What it computed, and what it should have.
        problem: String,
    },
}

impl GpuError {
    /// A stable name for programs.
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
