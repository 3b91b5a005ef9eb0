//! The choice of a device by its name.

use std::fmt;
use std::str::FromStr;

/// The device that a model runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The CPU or the first hardware GPU, whichever runs the model faster. A trial with the model decides, and its
    /// result is remembered. Evaluation and compression use the CPU, so that their figures do not depend on a trial.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU adapter with this number in the list of `honelm devices`; `None` is the first one.
    Gpu(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number))) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("gpu", None) => Ok(Self::Gpu(None)),
            ("gpu", Some(number)) => number
                .parse()
                .map(|n| Self::Gpu(Some(n)))
                .map_err(|_| format!("found {number:?}, expected the number of a GPU adapter")),
            _ => Err("expected auto, cpu, gpu or gpu:N".to_owned()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Gpu(None) => f.pad("gpu"),
            Self::Gpu(Some(n)) => f.pad(&format!("gpu:{n}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_they_are_shown() {
        for name in ["auto", "cpu", "gpu", "gpu:0", "gpu:12"] {
            assert_eq!(name.parse::<DeviceChoice>().expect("a device").to_string(), name);
        }
        for wrong in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cpu:0", "auto:1", "tpu"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
