//! The settings that chat completions and completions share.

/// Declares a request with its own fields and those of an answer's settings.
///
/// The fields are not a struct of their own, because serde would then lose the place of an error in them.
macro_rules! request {
    ($(#[$about:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        pub struct $name {
            $($(#[$meta])* pub $field: $kind,)*
            /// The temperature; 0 draws the most likely token.
            pub temperature: Option<crate::fields::Num<0, 1000>>,
            /// The probability of the most likely tokens that are kept.
            pub top_p: Option<crate::fields::Num<0, 1>>,
            /// The number of most likely tokens that are kept; 0 or -1 keeps all.
            pub top_k: Option<crate::fields::Int<-1, 4_294_967_295>>,
            /// The least probability of a token that is kept, relative to that of the most likely one.
            pub min_p: Option<crate::fields::Num<0, 1>>,
            /// The amount subtracted from the logits of the answer's tokens for each occurrence.
            pub frequency_penalty: Option<crate::fields::Num<-2, 2>>,
            /// The amount subtracted from the logits of the answer's tokens.
            pub presence_penalty: Option<crate::fields::Num<-2, 2>>,
            /// The divisor of the logits of the last tokens.
            #[serde(alias = "repetition_penalty")]
            pub repeat_penalty: Option<crate::fields::Num<0, 1000>>,
            /// The number of last tokens that the divisor applies to; -1 for all.
            pub repeat_last_n: Option<crate::fields::Int<-1, 4_294_967_295>>,
            /// The seed of the draws; a negative one is a new seed each time.
            pub seed: Option<crate::fields::Int<{ i64::MIN }, { i64::MAX }>>,
            /// The texts that end an answer.
            pub stop: Option<crate::fields::OneOrMany<String>>,
            /// The amounts added to the logits of tokens, by their ids.
            pub logit_bias: Option<std::collections::BTreeMap<String, crate::fields::Num<-1000, 1000>>>,
            /// `true` to ban the model's own end tokens.
            pub ignore_eos: Option<bool>,
            /// The fields that the server does not know.
            #[serde(flatten)]
            #[schemars(skip)]
            pub unknown: serde_json::Map<String, serde_json::Value>,
        }

        impl crate::fields::Fields for $name {
            fn unknown(&self) -> &serde_json::Map<String, serde_json::Value> {
                &self.unknown
            }
        }

        impl $name {
            /// Returns the settings without the limits of tokens and log-probabilities.
            fn sampling(&mut self) -> Result<crate::Settings, crate::ApiError> {
                Ok(crate::Settings {
                    temperature: self.temperature.map(crate::fields::Num::get),
                    top_p: self.top_p.map(crate::fields::Num::get),
                    top_k: self.top_k.map(|k| u32::try_from(k.count()).unwrap_or(0)),
                    min_p: self.min_p.map(crate::fields::Num::get),
                    frequency_penalty: self.frequency_penalty.map(crate::fields::Num::get),
                    presence_penalty: self.presence_penalty.map(crate::fields::Num::get),
                    repeat_penalty: self.repeat_penalty.map(crate::fields::Num::get),
                    repeat_last_n: self.repeat_last_n.map(|n| if n.get() < 0 { usize::MAX } else { n.count() }),
                    seed: self.seed.map(crate::fields::Int::get),
                    stop: self.stop.take().map(crate::fields::OneOrMany::into_vec).unwrap_or_default(),
                    logit_bias: super::sampling::biases(self.logit_bias.take().unwrap_or_default())?,
                    ignore_eos: self.ignore_eos.unwrap_or(false),
                    ..crate::Settings::default()
                })
            }
        }
    };
}
pub(super) use request;

use std::collections::BTreeMap;

use crate::ApiError;
use crate::fields::Num;

/// Reads the biases of tokens, whose ids are names of fields.
pub(super) fn biases(given: BTreeMap<String, Num<-1000, 1000>>) -> Result<BTreeMap<u32, f32>, ApiError> {
    let bias = |(id, bias): (String, Num<-1000, 1000>)| match id.parse() {
        Ok(id) => Ok((id, bias.get())),
        Err(_) => Err(ApiError::invalid("logit_bias", format!("found {id:?}, expected the id of a token"))),
    };
    given.into_iter().map(bias).collect()
}
