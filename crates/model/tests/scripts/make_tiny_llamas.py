#!/usr/bin/env python3
"""Make the tiny random llamas of ../data/tiny-llama-*/ and their golden logits.

usage: make_tiny_llamas.py [OUT_DIR]      (default: ../data beside this script)

Each folder is a Hugging Face checkpoint in float32 (config.json, model.safetensors) with
logits.safetensors: `tokens` i64 [T] and `logits` f32 [T, V], computed by transformers'
LlamaForCausalLM in float32 with eager attention. The llama class of transformers has no
sliding window, so the logits of `window` come from MistralForCausalLM, which is the same
network with one; its config.json says model_type "llama" and sliding_window 5 (a token
sees itself and the 4 before it).

Weights are random, scaled so that attention is far from uniform and the logits' standard
deviation is at least 1; norm gains are not 1 and biases not 0. The script refuses to write
a model whose feature has no effect (a bias, window or rope scaling that may be ignored
unseen proves nothing), or whose float32 logits stray from float64 ones.

Written with torch 2 on a CPU and transformers 5. A rerun elsewhere may differ in the last
bits of the logits; tests allow 1e-4 of their standard deviation.
Needs: pip install torch transformers safetensors
"""
import copy
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

D, F, V, H, G, E = 64, 96, 96, 4, 2, 16
THETA = 10000.0
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)

# name: settings that differ from `config` below; `layers` and `tokens` keep the files small.
VARIANTS = {
    "grouped": dict(layers=3, tokens=24, tie_word_embeddings=False),
    "biases-tied": dict(layers=3, tokens=24, attention_bias=True, mlp_bias=True),
    # wavelengths 6.3, 13.7, 29.7, 64.6, ...: kept below 8, blended to 32, stretched by 4 above.
    "rope-llama3": dict(layers=2, tokens=40, theta=500.0, scaling=LLAMA3),
    "window": dict(layers=3, tokens=24, sliding_window=5),
    # 96 attention channels from a residual of 64, as many K/V heads as query heads.
    "head-dim": dict(layers=2, tokens=24, head_dim=24, num_key_value_heads=H),
}


def config(variant, generation):
    """The variant's config.json as transformers 4 (generation 4) or 5 writes it."""
    v = dict(VARIANTS[variant])
    theta, scaling, _ = v.pop("theta", THETA), v.pop("scaling", None), v.pop("tokens")
    c = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=V, hidden_size=D,
             intermediate_size=F, num_hidden_layers=v.pop("layers"), num_attention_heads=H,
             num_key_value_heads=G, head_dim=E, hidden_act="silu", max_position_embeddings=128,
             rms_norm_eps=1e-5, attention_bias=False, mlp_bias=False, tie_word_embeddings=True,
             bos_token_id=0, eos_token_id=1)
    c |= v
    if generation == 4:
        return c | dict(rope_theta=theta, rope_scaling=scaling, torch_dtype="float32")
    return c | dict(rope_parameters=dict(rope_theta=theta, **(scaling or dict(rope_type="default"))),
                    dtype="float32")


def build(c):
    """An untrained model of the configuration `c`."""
    c = {k: x for k, x in c.items() if k not in ("architectures", "model_type", "dtype")}
    classes = (MistralConfig, MistralForCausalLM) if "sliding_window" in c else (LlamaConfig, LlamaForCausalLM)
    if "sliding_window" in c:
        del c["attention_bias"], c["mlp_bias"]
    return classes[1](classes[0](**c, attn_implementation="eager")).eval()


def randomise(model, seed):
    """Fill every parameter, in the order of their names."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = torch.randn(p.shape, generator=g)
            if name.endswith("norm.weight"):
                p.copy_(1 + 0.3 * x)
            elif name.endswith(".bias"):
                p.copy_(0.5 * x)
            elif "embed_tokens" in name:
                p.copy_(0.3 * x)
            elif "q_proj" in name or "k_proj" in name:
                p.copy_(1.5 * x / p.shape[1] ** 0.5)
            else:
                p.copy_(x / p.shape[1] ** 0.5)


@torch.no_grad()
def logits(model, tokens):
    return model(tokens[None], use_cache=False).logits[0]


def effect(model, c, tokens, golden):
    """How far the logits move, in their standard deviations, when the variant's feature is ignored."""
    plain = copy.deepcopy(c)
    plain["rope_parameters"] = dict(rope_type="default", rope_theta=c["rope_parameters"]["rope_theta"])
    state = dict(model.state_dict())
    if plain.pop("sliding_window", None) is None and c["attention_bias"]:
        state = {k: x * 0 if k.endswith(".bias") else x for k, x in state.items()}
    other = build(plain)
    other.load_state_dict(state)
    return ((logits(other, tokens) - golden).abs().max() / golden.std()).item()


def check(name, model, c, tokens, golden):
    """Refuse a golden value that a wrong implementation could match."""
    assert golden.std() >= 1, f"{name}: logits too flat"
    error = ((logits(copy.deepcopy(model).double(), tokens) - golden).abs().max() / golden.std()).item()
    assert error < 2e-5, f"{name}: float32 strays from float64 by {error}"
    moved = effect(model, c, tokens, golden)
    if name in ("biases-tied", "rope-llama3", "window"):
        assert moved > 0.3, f"{name}: the feature moves logits by {moved} only"
    if name == "rope-llama3":
        old, theta = LLAMA3["original_max_position_embeddings"], c["rope_parameters"]["rope_theta"]
        waves = [2 * torch.pi * theta ** (2 * i / E) for i in range(E // 2)]
        bands = [sum(w < old / 4 for w in waves), sum(old / 4 <= w <= old for w in waves), sum(w > old for w in waves)]
        assert min(bands) > 0, f"bands {bands}"
    if name == "window":
        # Each layer reaches W - 1 tokens back: the first token is seen up to there and no further.
        reach = c["num_hidden_layers"] * (c["sliding_window"] - 1)
        changed = tokens.clone()
        changed[0] = (tokens[0] + 1) % V
        moved_rows = (logits(model, changed) - golden).abs().amax(1) > 0
        assert moved_rows[: reach + 1].all() and not moved_rows[reach + 1:].any()
    print(f"{name:12} std {golden.std():.3f}  float64 {error:.1e}  feature moves {moved:.2f} std")


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "data"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for seed, name in enumerate(VARIANTS, start=1):
        c = config(name, 5)
        model = build(c)
        randomise(model, seed)
        count = VARIANTS[name]["tokens"]
        tokens = torch.randint(0, V, (count,), generator=torch.Generator().manual_seed(100 + seed))
        golden = logits(model, tokens)
        check(name, model, c, tokens, golden)

        folder = out / f"tiny-llama-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: p.detach().contiguous() for k, p in model.named_parameters()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        save_file({"tokens": tokens, "logits": golden.contiguous()}, folder / "logits.safetensors")
        (folder / "config.json").write_text(json.dumps(config(name, 4), indent=2) + "\n")
        if name == "rope-llama3":
            (folder / "config-new.json").write_text(json.dumps(c, indent=2) + "\n")
        if name != "window":
            again = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
            assert torch.equal(logits(again, tokens), golden), f"{name}: the folder reads back differently"


main()
