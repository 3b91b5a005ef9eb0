//! llama.cpp's mixes of encodings, by name: which matrix gets which encoding is what `llama-quantize` does (2026-10).

use std::collections::BTreeMap;

use honelm_blocks::Encoding;
use honelm_model::{Kind, Module, Slot, Tree};

use crate::{Recipe, Scheme, Target};

/// A named mix of encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// The name on the command line: `q4_k_m`.
    pub name: &'static str,
    /// The name for display: `Q4_K_M`.
    pub display_name: &'static str,
    /// The encoding of the matrices without a rule of their own.
    pub base: Encoding,
    /// The `general.file_type` (`enum llama_ftype`).
    pub file_type: u32,
}

use Encoding::{IQ1M, IQ1S, IQ2S, IQ2XS, IQ2XXS, IQ3S, IQ3XXS, IQ4NL, IQ4XS, Q2K, Q3K, Q4K, Q5K, Q6K, Q8_0};

const fn mix(name: &'static str, display_name: &'static str, base: Encoding, file_type: u32) -> Mix {
    Mix { name, display_name, base, file_type }
}

/// Every mix, in the order of llama.cpp's numbers.
pub const MIXES: &[Mix] = &[
    mix("q2_k", "Q2_K", Q2K, 10),
    mix("q3_k_s", "Q3_K_S", Q3K, 11),
    mix("q3_k_m", "Q3_K_M", Q3K, 12),
    mix("q3_k_l", "Q3_K_L", Q3K, 13),
    mix("q4_k_s", "Q4_K_S", Q4K, 14),
    mix("q4_k_m", "Q4_K_M", Q4K, 15),
    mix("q5_k_s", "Q5_K_S", Q5K, 16),
    mix("q5_k_m", "Q5_K_M", Q5K, 17),
    mix("iq2_xxs", "IQ2_XXS", IQ2XXS, 19),
    mix("iq2_xs", "IQ2_XS", IQ2XS, 20),
    mix("q2_k_s", "Q2_K_S", Q2K, 21),
    mix("iq3_xs", "IQ3_XS", IQ3S, 22),
    mix("iq3_xxs", "IQ3_XXS", IQ3XXS, 23),
    mix("iq1_s", "IQ1_S", IQ1S, 24),
    mix("iq4_nl", "IQ4_NL", IQ4NL, 25),
    mix("iq3_s", "IQ3_S", IQ3S, 26),
    mix("iq3_m", "IQ3_M", IQ3S, 27),
    mix("iq2_s", "IQ2_S", IQ2XS, 28),
    mix("iq2_m", "IQ2_M", IQ2S, 29),
    mix("iq4_xs", "IQ4_XS", IQ4XS, 30),
    mix("iq1_m", "IQ1_M", IQ1M, 31),
];

/// The part that a matrix plays, as far as llama.cpp tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The output layer, or the embedding that is tied to it.
    Output,
    /// The embedding beside an output layer.
    Embedding,
    /// The values of the attention, alone or with queries and keys in one matrix.
    Value,
    QueryOrKey,
    AttentionOutput,
    Down,
    GateOrUp,
    Other,
}

impl Role {
    fn of(tree: &Tree, slot: Slot, module: &Module) -> Self {
        match (module.kind, slot.layer, module.gguf) {
            (Kind::Embedding, ..) if tree.output.is_none() => Self::Output,
            (Kind::Embedding, ..) => Self::Embedding,
            (_, None, "output") => Self::Output,
            (_, _, "attn_v" | "attn_qkv") => Self::Value,
            (_, _, "attn_q" | "attn_k") => Self::QueryOrKey,
            (_, _, "attn_output") => Self::AttentionOutput,
            (_, _, "ffn_down") => Self::Down,
            (_, _, "ffn_gate" | "ffn_up") => Self::GateOrUp,
            _ => Self::Other,
        }
    }
}

/// The facts about a model and a matrix of it that the rules need.
struct Place {
    layer: usize,
    layers: usize,
    /// Query heads per head of keys.
    readers: usize,
    /// `true` if columns are weighted by what flows through them.
    weighted: bool,
}

impl Place {
    /// The layers in which some mixes spend more bits: the first and the last eighth, and every third between them.
    fn has_more_bits(&self) -> bool {
        let eighth = self.layers / 8;
        let last = 7 * self.layers / 8;
        self.layer < eighth || self.layer >= last || (self.layer - eighth) % 3 == 2
    }

    fn is_in_first(&self, share: usize) -> bool {
        self.layer < self.layers / share
    }
}

impl Mix {
    /// Returns the mix with this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        MIXES.iter().find(|mix| mix.name.eq_ignore_ascii_case(name))
    }

    /// Returns the scheme of the mix for a model. Some mixes give the first layers fewer bits where columns are weighted:
    /// here if the recipe observes inputs, or with `weighted`, in llama.cpp with an importance matrix.
    #[must_use]
    pub fn scheme(&self, tree: &Tree, recipe: Recipe, weighted: bool) -> Scheme {
        let weighted = weighted || recipe.needs_calibration();
        let readers = readers(tree);
        let encoding = |slot: Slot| {
            let module = tree.module(slot).filter(|m| matches!(m.kind, Kind::Embedding | Kind::Linear))?;
            let layer = slot.layer.unwrap_or(0);
            let place = Place { layer, layers: tree.layers.len(), readers, weighted };
            let role = Role::of(tree, slot, module);
            let whole = module.shape[1].is_multiple_of(self.base.block_len());
            Some((slot, if role == Role::Output && !whole { Q8_0 } else { self.encoding(role, &place) }))
        };
        let overrides = tree.slots().filter_map(encoding).filter(|(_, e)| *e != self.base);
        let overrides: BTreeMap<Slot, Target> = overrides.map(|(slot, e)| (slot, Target::Block(e))).collect();
        Scheme { overrides, file_type: Some(self.file_type), ..Scheme::pure(self.base, recipe) }
    }

    /// `true` for the mixes of 1 and 2 bits, which share most rules.
    fn is_lowest(&self) -> bool {
        matches!(self.name, "iq1_s" | "iq1_m" | "iq2_xxs" | "iq2_xs" | "iq2_s" | "iq2_m")
    }

    fn encoding(&self, role: Role, place: &Place) -> Encoding {
        let grouped = place.readers >= 4;
        // The larger of the two-bit mixes.
        let large = matches!(self.name, "iq2_s" | "iq2_m");
        match role {
            Role::Output if self.is_lowest() || self.name == "iq3_xxs" => Q5K,
            Role::Output => Q6K,
            Role::Embedding if large || self.name == "iq3_xxs" => IQ3S,
            Role::Embedding if self.is_lowest() => Q2K,
            Role::Value if self.is_lowest() => match (grouped, large) {
                (true, _) => Q4K,
                (false, true) => IQ3S,
                (false, false) => Q2K,
            },
            Role::Value => match self.value(place, grouped) {
                // A model of 70B has eight heads of queries per head of values, so these matrices are small.
                Q3K | Q4K if place.layers == 80 && place.readers > 1 => Q5K,
                encoding => encoding,
            },
            Role::QueryOrKey => match self.name {
                "iq3_xs" => IQ3XXS,
                "iq3_xxs" => IQ2S,
                _ => self.base,
            },
            Role::AttentionOutput => match self.name {
                "q2_k" => Q3K,
                "q3_k_m" | "iq3_m" => Q4K,
                "q3_k_l" => Q5K,
                "iq3_xxs" => IQ3S,
                "iq1_s" | "iq1_m" => IQ2XXS,
                _ if large => IQ3S,
                _ => self.base,
            },
            Role::Down => self.down(place, large),
            Role::GateOrUp if self.name == "iq3_xs" => {
                let inner = !place.is_in_first(8) && place.layer < 7 * place.layers / 8;
                if inner { IQ3XXS } else { self.base }
            }
            Role::GateOrUp | Role::Embedding | Role::Other => self.base,
        }
    }

    fn value(&self, place: &Place, grouped: bool) -> Encoding {
        match self.name {
            "q2_k" if grouped => Q4K,
            "q2_k" => Q3K,
            "q2_k_s" | "iq3_xxs" | "iq3_xs" | "iq3_s" if grouped => Q4K,
            "iq3_xxs" if !place.weighted => IQ3S,
            "iq3_m" => Q4K,
            "q3_k_m" if place.layer < 2 => Q5K,
            "q3_k_m" => Q4K,
            "q3_k_l" => Q5K,
            "iq4_nl" | "iq4_xs" if grouped => Q5K,
            "q4_k_m" | "q5_k_m" if place.has_more_bits() => Q6K,
            "q4_k_s" if place.layer < 4 => Q5K,
            _ => self.base,
        }
    }

    fn down(&self, place: &Place, large: bool) -> Encoding {
        let early = place.is_in_first(8);
        match self.name {
            "q2_k" => Q3K,
            "q2_k_s" | "iq3_m" if early => Q4K,
            "iq3_xxs" if !place.weighted => {
                if early {
                    Q4K
                } else {
                    Q3K
                }
            }
            "q3_k_m" if place.is_in_first(16) => Q5K,
            "q3_k_m" => Q4K,
            "q3_k_l" => Q5K,
            "iq4_nl" | "iq4_xs" if early && !place.weighted => Q5K,
            "q4_k_m" | "q5_k_m" if place.has_more_bits() => Q6K,
            "q4_k_s" if early => Q5K,
            _ if self.is_lowest() && early => {
                if large {
                    IQ3S
                } else {
                    Q2K
                }
            }
            _ => self.base,
        }
    }
}

/// Returns the number of query heads per head of keys, from the shapes of the first layer.
fn readers(tree: &Tree) -> usize {
    let rows = |name: &str| {
        let found = tree.layers.first()?.iter().find(|m| m.is_linear() && m.gguf == name)?;
        Some((found.shape[0], found.shape[1]))
    };
    let pair = match (rows("attn_q"), rows("attn_k"), rows("attn_qkv"), rows("attn_output")) {
        (Some((q, _)), Some((k, _)), ..) => Some((q, k)),
        // Queries, keys and values in one matrix; the output reads as many columns as there are queries.
        (_, _, Some((all, _)), Some((_, q))) if all > q => Some((q, (all - q) / 2)),
        _ => None,
    };
    pair.map_or(1, |(q, k)| q / k.max(1))
}

#[cfg(test)]
mod tests {
    use honelm_model::Checkpoint;
    use serde_json::json;

    use super::*;

    /// The sizes in bytes of the files that llama-quantize (2026-10) wrote of one model of this shape (10 layers, 8 heads,
    /// 4 of keys, a tied embedding), without an importance matrix and with one, less the 224 bytes of metadata about that.
    const SIZES: &[(&str, u64, u64)] = &[
        ("q5_k_m", 23_204_000, 23_204_000),
        ("q4_k_m", 20_254_880, 20_254_880),
        ("q4_k_s", 19_388_576, 19_388_576),
        ("iq4_xs", 18_483_360, 18_380_960),
        ("q3_k_m", 17_010_848, 17_010_848),
        ("q2_k", 13_854_880, 13_854_880),
    ];

    fn bytes(tree: &Tree, mix: &str, weighted: bool) -> u64 {
        let scheme = Mix::from_name(mix).expect("known").scheme(tree, Recipe::rtn(), weighted);
        let bytes = |(slot, target): (Slot, Target)| match (tree.module(slot), target) {
            (Some(module), Target::Block(e)) => e.row_bytes(module.shape[1]).expect("whole blocks") * module.shape[0],
            other => panic!("{other:?}"),
        };
        scheme.targets(tree).into_iter().map(bytes).sum::<usize>() as u64
    }

    #[test]
    fn mixes_have_the_sizes_of_llama_cpps_files() {
        let config = json!({
            "model_type": "llama", "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 1280,
            "num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 1024, "tie_word_embeddings": true,
        });
        let checkpoint = Checkpoint::made_up("m", &config, Encoding::F16, 1).expect("a model");
        let tree = checkpoint.tree();
        // All files have the same metadata and norms.
        let rest = SIZES[0].1 - bytes(tree, SIZES[0].0, false);
        for &(mix, plain, weighted) in SIZES {
            assert_eq!(bytes(tree, mix, false) + rest, plain, "{mix}");
            assert_eq!(bytes(tree, mix, true) + rest, weighted, "{mix} with an importance matrix");
        }
    }

    #[test]
    fn names_and_numbers_are_unique_and_every_mix_has_a_scheme() {
        let checkpoint = Checkpoint::synthetic("llama-3.2-1b", Encoding::F16, 1).expect("a shape");
        for (i, mix) in MIXES.iter().enumerate() {
            assert!(MIXES[i + 1..].iter().all(|other| other.name != mix.name && other.file_type != mix.file_type));
            assert_eq!(mix.display_name.to_lowercase(), mix.name);
            let scheme = mix.scheme(checkpoint.tree(), Recipe::rtn(), true);
            assert!(scheme.fallbacks(checkpoint.tree()).is_empty(), "{}", mix.name);
            // Eight heads of keys for 32 of queries: the values get more bits than the rest.
            let of = |module| scheme.targets(checkpoint.tree())[&Slot { layer: Some(8), module }];
            assert_ne!(of("q"), Target::Keep);
            if mix.name == "q2_k" {
                assert_eq!([of("v"), of("down"), of("q")].map(|t| t.to_string()), ["Q4_K", "Q3_K", "Q2_K"]);
            }
        }
    }
}
