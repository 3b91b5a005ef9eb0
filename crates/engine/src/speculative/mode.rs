use std::str::FromStr;

/// The source of the drafts of speculative decoding. On a batch-invariant device, such as the CPU, none of them changes a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speculate {
    /// No drafts.
    Off,
    /// Tokens that followed the same tokens earlier in the prompt or the answer.
    Ngram,
    /// Tokens of the draft model.
    Draft,
    /// The better of both for each answer: the draft model where there is one, and earlier text if the device is
    /// batch-invariant. Drafts that do not pay are left out.
    #[default]
    Auto,
}

impl Speculate {
    /// All settings.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Ngram, Self::Draft, Self::Off];

    /// Returns the stable name: `off`, `ngram`, `draft`, `auto`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ngram => "ngram",
            Self::Draft => "draft",
            Self::Auto => "auto",
        }
    }
}

impl std::fmt::Display for Speculate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Speculate {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|how| how.name() == name);
        found.ok_or_else(|| "expected auto, ngram, draft or off".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_as_they_are_shown() {
        for how in Speculate::ALL {
            assert_eq!(how.to_string().parse(), Ok(how));
        }
        assert!("".parse::<Speculate>().is_err() && "Auto".parse::<Speculate>().is_err());
    }
}
