use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The model width, and the width of the feed-forward network.
const WIDTH: usize = 96;
const HIDDEN: usize = 256;
/// The number of rows of the embedding. The tokenizer has fewer tokens.
const VOCABULARY: usize = 16;

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 16, "hidden_size": 96, "intermediate_size": 256,
"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32,
"tie_word_embeddings": true, "torch_dtype": "float32", "bos_token_id": 7, "eos_token_id": 6}"#;
const VOCAB: &str = r#"{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "n": 4, "s": 5, "<|endoftext|>": 6}"#;
const TOKENIZER_CONFIG: &str = r#"{"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>",
"added_tokens_decoder": {"7": {"content": "<s>", "special": true}, "8": {"content": "<e>", "special": true}}}"#;

/// Writes a Llama model with a tokenizer into the existing folder `dir`. Its 96 columns are whole blocks for few
/// encodings. Its weights are zeros and its norms are ones. `more` are additional files, or replacements of its
/// own.
///
/// # Errors
/// The errors of the file system.
pub fn write_small_model(dir: &Path, more: &[(&str, &str)]) -> io::Result<()> {
    let own = [
        ("config.json", CONFIG),
        ("vocab.json", VOCAB),
        ("merges.txt", "#version: 0.2\na b\n"),
        ("tokenizer_config.json", TOKENIZER_CONFIG),
    ];
    for (name, contents) in own.iter().chain(more) {
        std::fs::write(dir.join(name), contents)?;
    }
    let block = |name: &str| format!("model.layers.0.{name}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        (block("input_layernorm"), vec![WIDTH]),
        (block("post_attention_layernorm"), vec![WIDTH]),
        (block("self_attn.q_proj"), vec![WIDTH, WIDTH]),
        (block("self_attn.k_proj"), vec![WIDTH / 2, WIDTH]),
        (block("self_attn.v_proj"), vec![WIDTH / 2, WIDTH]),
        (block("self_attn.o_proj"), vec![WIDTH, WIDTH]),
        (block("mlp.gate_proj"), vec![HIDDEN, WIDTH]),
        (block("mlp.up_proj"), vec![HIDDEN, WIDTH]),
        (block("mlp.down_proj"), vec![WIDTH, HIDDEN]),
    ];
    let (mut header, mut data) = (String::from("{"), Vec::new());
    for (i, (name, shape)) in tensors.iter().enumerate() {
        let count: usize = shape.iter().product();
        let value = if shape.len() == 1 { 1f32 } else { 0.0 };
        let begin = data.len();
        data.extend(value.to_le_bytes().repeat(count));
        let comma = if i == 0 { "" } else { "," };
        let entry = format!(r#"{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{}]}}"#, data.len());
        let _ = write!(header, "{comma}\"{name}\":{entry}");
    }
    header.push('}');
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(dir.join("model.safetensors"), file)
}
