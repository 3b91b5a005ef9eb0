//! Tiny models with known answers.

use std::path::Path;

use honelm_blocks::Encoding;
use honelm_formats::gguf::Writer;
use honelm_formats::{ElementType, FormatError, write_atomic};

/// The size of the vocabulary: three special tokens, then every byte.
const VOCABULARY: usize = 3 + 256;
/// The token that ends an answer.
const END: usize = 2;

/// A llama model of one layer whose attention and feed-forward layers add nothing.
pub struct Tiny<'a> {
    /// `general.name`.
    pub name: &'a str,
    /// The chat template.
    pub template: &'a str,
    /// The width of the hidden states.
    pub width: usize,
    /// The width of the feed-forward layer.
    pub ffn: usize,
    /// The bytes that the model generates: each one after the byte before it, and the end after the last.
    pub says: &'a [u8],
    /// The name of a tensor that llama models do not have.
    pub odd_tensor: Option<&'a str>,
}

impl Default for Tiny<'_> {
    fn default() -> Self {
        Self { name: "tiny", template: "{{ messages }}", width: 260, ffn: 2, says: b"", odd_tensor: None }
    }
}

impl Tiny<'_> {
    pub fn write(&self, path: &Path) {
        self.try_write(path).expect("written");
    }

    fn try_write(&self, path: &Path) -> Result<(), FormatError> {
        let (width, ffn) = (self.width, self.ffn);
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama")?;
        writer.metadata("general.name", self.name)?;
        for (key, value) in [
            ("context_length", 1024),
            ("embedding_length", width),
            ("block_count", 1),
            ("feed_forward_length", ffn),
            ("attention.head_count", 1),
            ("attention.head_count_kv", 1),
            ("rope.dimension_count", width),
        ] {
            writer.metadata(format!("llama.{key}"), value as u32)?;
        }
        writer.metadata("llama.attention.layer_norm_rms_epsilon", 1e-5f32)?;
        let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
        let tokens: Vec<String> = special.into_iter().chain((0..256).map(|byte| format!("<0x{byte:02X}>"))).collect();
        writer.metadata("tokenizer.ggml.model", "llama")?;
        writer.metadata("tokenizer.ggml.tokens", tokens)?;
        writer.metadata("tokenizer.ggml.scores", vec![0.0f32; VOCABULARY])?;
        let types: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
        writer.metadata("tokenizer.ggml.token_type", types)?;
        writer.metadata("tokenizer.ggml.bos_token_id", 1u32)?;
        writer.metadata("tokenizer.ggml.eos_token_id", END as u32)?;
        writer.metadata("tokenizer.chat_template", self.template)?;
        for (name, shape) in [
            ("token_embd", vec![VOCABULARY, width]),
            ("output_norm", vec![width]),
            ("output", vec![VOCABULARY, width]),
            ("blk.0.attn_norm", vec![width]),
            ("blk.0.attn_q", vec![width, width]),
            ("blk.0.attn_k", vec![width, width]),
            ("blk.0.attn_v", vec![width, width]),
            ("blk.0.attn_output", vec![width, width]),
            ("blk.0.ffn_norm", vec![width]),
            ("blk.0.ffn_gate", vec![ffn, width]),
            ("blk.0.ffn_up", vec![ffn, width]),
            ("blk.0.ffn_down", vec![width, ffn]),
        ] {
            writer.tensor(format!("{name}.weight"), &shape, Encoding::F32)?;
        }
        if let Some(name) = self.odd_tensor {
            writer.tensor(name, &[1], Encoding::F32)?;
        }
        write_atomic(path, |file| {
            writer.write_to(file, &path.display().to_string(), |tensor, sink| {
                assert_eq!(tensor.element, ElementType::Weights(Encoding::F32));
                let bytes: Vec<u8> =
                    self.values(&tensor.name, &tensor.shape).iter().flat_map(|x| x.to_le_bytes()).collect();
                sink.write(&bytes)
            })
        })
    }

    /// Returns embeddings in which each token has a one at its own position, which the output layer maps to the next token.
    fn values(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let mut values = vec![if name.contains("norm") { 1.0 } else { 0.0 }; shape.iter().product()];
        if self.width >= VOCABULARY && name == "token_embd.weight" {
            (0..VOCABULARY).for_each(|token| values[token * self.width + token] = 1.0);
        }
        if name == "output.weight" {
            let token = |byte: &u8| 3 + usize::from(*byte);
            let next = self.says.iter().skip(1).map(token).chain([END]);
            self.says.iter().map(token).zip(next).for_each(|(from, to)| values[to * self.width + from] = 1.0);
        }
        values
    }
}
