#!/usr/bin/env python3
"""Make the configurations and golden logits of the tiny models in ../data/tiny/.

usage: make_tiny_models.py [NAME...]      (default: all)

Each folder has config.json (of one or the other generation of transformers) and logits.safetensors: `tokens` i64 [T] and
`logits` f32 [T, V], computed by transformers in float32 with eager attention. The logits of an encoder are its last hidden
states, f32 [T, D].

Weights are not kept: both sides make them from the same integers. Value i of a parameter is k / 32768 * scale + base, with
k from the upper 16 bits of SplitMix64 (seeded with FNV-1a of the parameter's name) and `scale` and `base` as
`scale_of` says. Attention is far from uniform, the logits' standard deviation at least 1, gains are not 1, biases not 0.

The script refuses to write a model whose features have no effect (each entry of `without` changes the configuration, and
the logits have to move), or whose float32 logits stray from float64 ones. A sequence is longer than twice any window.

Written with torch 2 on a CPU and transformers 5. A rerun elsewhere may differ in the last bits of the logits; tests allow
1e-4 of their standard deviation.
Needs: pip install torch transformers safetensors
"""
import copy
import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "tiny"
D, F, V, H, G, E = 64, 96, 64, 4, 2, 16

DECODER = dict(vocab_size=V, hidden_size=D, intermediate_size=F, num_hidden_layers=2, num_attention_heads=H,
               num_key_value_heads=G, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False,
               bos_token_id=0, eos_token_id=1, pad_token_id=None)
SILU = dict(DECODER, hidden_act="silu")
OLD, NEW = dict(torch_dtype="float32"), dict(dtype="float32")
SLIDING, FULL = "sliding_attention", "full_attention"
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=0.5)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
GEMMA = dict(DECODER, hidden_activation="gelu_pytorch_tanh", head_dim=E, tie_word_embeddings=True, num_hidden_layers=3)
LONG = dict(short_factor=[1.0, 1.25, 1.5, 2.0, 2.5, 3.0], long_factor=[1.0, 2.0, 4.0, 6.0, 8.0, 10.0])
GPT2 = dict(model_type="gpt2", vocab_size=V, n_positions=48, n_embd=D, n_layer=2, n_head=H, layer_norm_epsilon=1e-5,
            bos_token_id=0, eos_token_id=1)
BERT = dict(vocab_size=V, hidden_size=D, intermediate_size=F, num_hidden_layers=2, num_attention_heads=H,
            max_position_embeddings=48, hidden_act="gelu", layer_norm_eps=1e-12, pad_token_id=0)
ENCODERS = ("bert", "roberta")
OPT = dict(model_type="opt", vocab_size=V, hidden_size=D, ffn_dim=F, num_hidden_layers=2, num_attention_heads=H,
           max_position_embeddings=48, pad_token_id=1, bos_token_id=2, eos_token_id=2)


def model(config, tokens=24, without=(), **more):
    return dict(config=config, tokens=tokens, without=list(without), **more)


# name: configuration, length of the sequence, changes that have to move the logits.
MODELS = {
    "llama-grouped": model(dict(SILU, **OLD, model_type="llama", head_dim=E, num_hidden_layers=3, rope_theta=10000.0)),
    "llama-biases-tied": model(
        dict(SILU, **OLD, model_type="llama", head_dim=E, num_hidden_layers=3, attention_bias=True, mlp_bias=True,
             tie_word_embeddings=True, rope_theta=10000.0), zeroed=".bias"),
    # Wavelengths 6.3, 13.7, 29.7, 64.6, ...: kept below 8, blended to 32, stretched by 4 above.
    "llama-rope-llama3": model(
        dict(SILU, **OLD, model_type="llama", head_dim=E, rope_theta=500.0, rope_scaling=LLAMA3), tokens=40,
        without=[dict(rope_scaling=None)]),
    # LlamaForCausalLM has no window: Mistral's class is the same network with one.
    "llama-window": model(
        dict(SILU, **OLD, model_type="llama", head_dim=E, num_hidden_layers=3, tie_word_embeddings=True, sliding_window=5,
             rope_theta=10000.0), without=[dict(sliding_window=None)], build_as="mistral"),
    # 96 attention channels from a residual of 64, as many key-value heads as query heads.
    "llama-head-dim": model(
        dict(SILU, **OLD, model_type="llama", head_dim=24, num_key_value_heads=H, tie_word_embeddings=True,
             rope_theta=10000.0)),
    "llama-yarn": model(
        dict(SILU, **NEW, model_type="llama", head_dim=E, rope_parameters=dict(YARN, rope_theta=500.0)), tokens=40,
        without=[dict(rope_parameters=dict(PLAIN, rope_theta=500.0))]),
    "llama-linear": model(
        dict(SILU, **NEW, model_type="llama", rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=500.0)),
        tokens=24, without=[dict(rope_parameters=dict(PLAIN, rope_theta=500.0))]),
    # Longer than the trained context of 16: a session of exactly this many tokens computes the same.
    "llama-dynamic": model(
        dict(SILU, **OLD, model_type="llama", head_dim=E, max_position_embeddings=16, rope_theta=100.0,
             rope_scaling=dict(type="dynamic", factor=4.0)), tokens=40, without=[dict(rope_scaling=None)]),
    "mistral-window": model(
        dict(SILU, **OLD, model_type="mistral", head_dim=E, num_hidden_layers=3, sliding_window=5, rope_theta=10000.0),
        without=[dict(sliding_window=None)]),
    "mistral-nemo": model(
        dict(SILU, **NEW, model_type="mistral", head_dim=24, sliding_window=None,
             rope_parameters=dict(PLAIN, rope_theta=1000000.0))),
    "ministral-mixed": model(
        dict(SILU, **NEW, model_type="ministral", head_dim=24, sliding_window=6, num_hidden_layers=3,
             layer_types=[FULL, SLIDING, SLIDING], rope_parameters=PLAIN),
        without=[dict(layer_types=[FULL] * 3), dict(layer_types=[SLIDING] * 3)]),
    "qwen2-tied": model(
        dict(SILU, **OLD, model_type="qwen2", tie_word_embeddings=True, sliding_window=16, use_sliding_window=False,
             max_window_layers=1, rope_theta=1000000.0), zeroed="_proj.bias"),
    "qwen2-windows": model(
        dict(SILU, **NEW, model_type="qwen2", num_hidden_layers=3, sliding_window=5, use_sliding_window=True,
             max_window_layers=1, layer_types=[FULL, SLIDING, SLIDING], rope_parameters=PLAIN),
        without=[dict(layer_types=[FULL] * 3)]),
    "qwen3-norms": model(
        dict(SILU, **OLD, model_type="qwen3", head_dim=24, tie_word_embeddings=True, attention_bias=False,
             sliding_window=None, use_sliding_window=False, max_window_layers=2, rope_theta=1000000.0), ones="_norm.weight"),
    "qwen3-biases-windows": model(
        dict(SILU, **NEW, model_type="qwen3", head_dim=E, num_hidden_layers=3, attention_bias=True, sliding_window=5,
             use_sliding_window=True, max_window_layers=2, layer_types=[FULL, FULL, SLIDING], rope_parameters=PLAIN),
        without=[dict(layer_types=[FULL] * 3)], zeroed=".bias"),
    "gemma2-caps": model(
        dict(GEMMA, **OLD, model_type="gemma2", query_pre_attn_scalar=E, sliding_window=5, attn_logit_softcapping=3.0,
             final_logit_softcapping=5.0, rope_theta=10000.0),
        without=[dict(attn_logit_softcapping=None), dict(final_logit_softcapping=None), dict(sliding_window=64),
                 dict(hidden_activation="silu")]),
    "gemma2-scalar": model(
        dict(GEMMA, **NEW, model_type="gemma2", head_dim=24, query_pre_attn_scalar=12, sliding_window=6,
             num_key_value_heads=1, attn_logit_softcapping=50.0, final_logit_softcapping=30.0, num_hidden_layers=2,
             layer_types=[FULL, SLIDING], rope_parameters=PLAIN),
        without=[dict(query_pre_attn_scalar=24), dict(layer_types=[SLIDING, FULL])]),
    "gemma3-pattern": model(
        dict(GEMMA, **OLD, model_type="gemma3_text", query_pre_attn_scalar=E, sliding_window=5, num_hidden_layers=7,
             sliding_window_pattern=6, rope_theta=1000000.0, rope_local_base_freq=100.0, attn_logit_softcapping=None,
             final_logit_softcapping=None, rope_scaling=dict(rope_type="linear", factor=8.0)),
        without=[dict(rope_local_base_freq=10000.0), dict(sliding_window=64), dict(sliding_window_pattern=3),
                 dict(rope_scaling=None)]),
    "gemma3-types": model(
        dict(GEMMA, **NEW, model_type="gemma3_text", head_dim=24, query_pre_attn_scalar=24, sliding_window=6,
             layer_types=[SLIDING, FULL, SLIDING], use_bidirectional_attention=False, final_logit_softcapping=5.0,
             rope_parameters={FULL: dict(PLAIN, rope_theta=500.0), SLIDING: PLAIN}),
        without=[dict(final_logit_softcapping=None), dict(layer_types=[SLIDING, SLIDING, FULL])]),
    "phi3-window": model(
        dict(SILU, **OLD, model_type="phi3", sliding_window=5, num_key_value_heads=H, rope_theta=10000.0,
             original_max_position_embeddings=128, rope_scaling=None, resid_pdrop=0.0, embd_pdrop=0.0),
        without=[dict(sliding_window=None)]),
    # Partial rotary with long factors: a session of more than the trained 16 tokens.
    "phi3-longrope": model(
        dict(SILU, **OLD, model_type="phi3", sliding_window=None, tie_word_embeddings=True, partial_rotary_factor=0.75,
             rope_theta=10000.0, original_max_position_embeddings=16, rope_scaling=dict(type="longrope", **LONG)),
        tokens=40, without=[dict(rope_scaling=dict(type="longrope", **dict(LONG, long_factor=LONG["short_factor"])))]),
    "gpt2-tied": model(dict(GPT2, activation_function="gelu_new", n_inner=None, torch_dtype="float32"),
                       without=[dict(activation_function="relu")], zeroed=".bias"),
    "gpt2-wide": model(dict(GPT2, activation_function="gelu_pytorch_tanh", n_inner=F, tie_word_embeddings=False,
                            dtype="float32")),
    # A text of one token type; the rows of the other one have no effect.
    "bert-types": model(
        dict(BERT, model_type="bert", type_vocab_size=2, position_embedding_type="absolute",
             attention_probs_dropout_prob=0.1, hidden_dropout_prob=0.1, torch_dtype="float32"),
        without=[dict(hidden_act="relu")], zeroed=".bias", causal=True),
    "bert-wide": model(
        dict(BERT, model_type="bert", type_vocab_size=1, hidden_size=96, num_attention_heads=3, intermediate_size=160,
             num_hidden_layers=3, layer_norm_eps=1e-2, classifier_dropout=None, dtype="float32"), tokens=48,
        without=[dict(layer_norm_eps=1.0)], causal=True),
    # Row 1 of the positions is for padding, whose token is not in the text.
    "roberta-padded": model(
        dict(BERT, model_type="roberta", type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, bos_token_id=0,
             eos_token_id=2, torch_dtype="float32"), tokens=46, without=[dict(hidden_act="relu")], causal=True),
    "roberta-biases": model(
        dict(BERT, model_type="roberta", type_vocab_size=2, pad_token_id=1, num_attention_heads=2, num_hidden_layers=3,
             bos_token_id=0, eos_token_id=2, dtype="float32"), zeroed=".bias", causal=True),
    "opt-before": model(dict(OPT, do_layer_norm_before=True, word_embed_proj_dim=D, activation_function="relu",
                             torch_dtype="float32"), zeroed=".bias"),
    "opt-after": model(dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=32, activation_function="relu",
                            dtype="float32")),
    "smollm3-nope": model(
        dict(SILU, **OLD, model_type="smollm3", num_hidden_layers=5, no_rope_layers=[1, 1, 1, 0, 1],
             no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None, attention_bias=False, mlp_bias=False,
             tie_word_embeddings=True, rope_theta=5000.0), without=[dict(no_rope_layers=[1] * 5)]),
    "smollm3-biases": model(
        dict(SILU, **NEW, model_type="smollm3", num_hidden_layers=3, no_rope_layers=[1, 0, 1], attention_bias=True,
             mlp_bias=True, layer_types=[FULL] * 3, rope_parameters=PLAIN), without=[dict(no_rope_layers=[1] * 3)],
        zeroed=".bias"),
    "granite-multipliers": model(
        dict(SILU, **OLD, model_type="granite", attention_multiplier=0.4, embedding_multiplier=6.0,
             residual_multiplier=0.7, logits_scaling=0.5, attention_bias=False, mlp_bias=False, tie_word_embeddings=True,
             rope_theta=10000.0),
        without=[dict(attention_multiplier=0.25), dict(embedding_multiplier=1.0), dict(residual_multiplier=1.0),
                 dict(logits_scaling=1.0)]),
    "granite-biases": model(
        dict(SILU, **NEW, model_type="granite", attention_multiplier=0.25, embedding_multiplier=2.0,
             residual_multiplier=1.0, logits_scaling=0.75, attention_bias=True, mlp_bias=True, rope_parameters=PLAIN),
        zeroed=".bias"),
}


def uniform(name, count):
    """`count` multiples of 1 / 32768 in [-1, 1), float64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(48)).astype(np.int64) - 32768) / 32768


def scale_of(name, shape, model_type):
    """What uniform numbers are multiplied with, and what is added."""
    if len(shape) == 1:
        # Gemma's gains are stored less 1.
        gain = name.endswith("weight") and not model_type.startswith("gemma")
        return 0.5, 1.0 if gain else 0.0
    if any(part in name for part in ("embed_tokens", "wte", "embed_positions", "wpe", "_embeddings.")):
        return 0.5, 0.0
    # GPT-2 keeps matrices as [in, out].
    width = shape[0] if ".c_" in name else shape[1]
    wide = any(part in name for part in ("q_proj", "k_proj", "qkv_proj", "c_attn", "self.query", "self.key"))
    return (2.5 if wide else 2.0) / width**0.5, 0.0


def fill(net, model_type, ones=None, zeroed=None):
    with torch.no_grad():
        for name, p in net.named_parameters():
            scale, base = scale_of(name, tuple(p.shape), model_type)
            values = (uniform(name, p.numel()).astype(np.float32) * np.float32(scale) + np.float32(base))
            if ones and name.endswith(ones):
                values[:] = 1
            if zeroed and name.endswith(zeroed):
                values[:] = 0
            p.copy_(torch.from_numpy(values).reshape(p.shape))
    return net


def build(entry, config, **change):
    c = dict(config)
    model_type = c.pop("model_type")
    if "layer_types" in change:
        c.pop("max_window_layers", None)
    for key in ("torch_dtype", "dtype"):
        c.pop(key, None)
    made = CONFIG_MAPPING[entry.get("build_as", model_type)].from_dict(copy.deepcopy(c))
    if model_type in ENCODERS:
        net = AutoModel.from_config(made, attn_implementation="eager", add_pooling_layer=False).float().eval()
    else:
        net = AutoModelForCausalLM.from_config(made, attn_implementation="eager").float().eval()
    return fill(net, model_type, **change)


@torch.no_grad()
def logits(net, tokens, causal=False):
    if net.config.model_type in ENCODERS:
        mask = torch.ones(len(tokens), len(tokens)).tril()[None, None] if causal else None
        return net(tokens[None], attention_mask=mask).last_hidden_state[0]
    return net(tokens[None], use_cache=False).logits[0]


def make(name, entry):
    config = entry["config"]
    tokens = torch.from_numpy(((uniform(name, entry["tokens"]) + 1) * V / 2).astype(np.int64))
    if config["model_type"] == "roberta":
        tokens[tokens == config["pad_token_id"]] = V - 1
    net = build(entry, config)
    golden = logits(net, tokens)
    std = golden.std().item()
    assert std >= 1, f"{name}: logits too flat: {std}"
    stray = ((logits(copy.deepcopy(net).double(), tokens) - golden).abs().max() / std).item()
    assert stray < 3e-5, f"{name}: float32 strays from float64 by {stray}"
    variants = [build(entry, dict(config, **change)) for change in entry["without"]]
    variants += [build(entry, config, **{kind: entry[kind]}) for kind in ("ones", "zeroed") if kind in entry]
    others = [logits(other, tokens) for other in variants]
    if entry.get("causal"):
        others.append(logits(net, tokens, causal=True))
    moved = [((other - golden).abs().max() / std).item() for other in others]
    assert all(m > 0.05 for m in moved), f"{name}: a feature moves the logits by {moved} only"
    print(f"{name:22} std {std:.2f}  float64 {stray:.1e}  features move {' '.join(f'{m:.2f}' for m in moved)}")
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file({"tokens": tokens, "logits": golden.float().contiguous()}, folder / "logits.safetensors")


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        make(name, MODELS[name])


if __name__ == "__main__":
    main()
