#!/usr/bin/env python3
"""Make ../data/rope.json: inverse frequencies and magnitudes that transformers computes for rotary embeddings.

usage: make_rope.py [OUT_FILE]      (default: ../data/rope.json beside this script)

A list of cases: `config` (the fields of config.json that bear on it), `head_dim`, `max_position_embeddings`, `session`
(the longest sequence, given to transformers as the sequence's length), `inverse_frequencies` and `magnitude`.
Both generations of config.json are among them.

Written with transformers 5 and torch 2 on a CPU. Needs: pip install torch transformers
"""
import json
import pathlib
import sys

import torch
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

LONG = dict(short_factor=[1 + 0.05 * i for i in range(12)], long_factor=[1.5 + 2.5 * i for i in range(12)])

# Scaling, head_dim, max_position_embeddings, session, other fields.
CASES = [
    (None, 64, 4096, 4096, {}),
    (None, 128, 4096, 4096, dict(rope_theta=1000000.0)),
    (dict(rope_type="linear", factor=4.0), 64, 16384, 16384, {}),
    (dict(type="dynamic", factor=2.0), 64, 2048, 1024, {}),
    (dict(type="dynamic", factor=2.0), 64, 2048, 4096, {}),
    (dict(rope_type="dynamic", factor=4.0), 32, 2048, 8192, dict(rope_theta=500000.0)),
    (dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768), 128, 131072, 131072,
     dict(rope_theta=1000000.0)),
    (dict(rope_type="yarn", factor=16.0, original_max_position_embeddings=4096, beta_fast=64.0, beta_slow=0.5,
          attention_factor=1.5), 64, 65536, 65536, {}),
    (dict(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, mscale=0.707, mscale_all_dim=1.0), 64,
     163840, 163840, {}),
    (dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=1000, truncate=False), 32, 8000, 8000, {}),
    (dict(type="longrope", **LONG), 32, 131072, 4096,
     dict(original_max_position_embeddings=4096, partial_rotary_factor=0.75)),
    (dict(type="longrope", **LONG), 32, 131072, 4097,
     dict(original_max_position_embeddings=4096, partial_rotary_factor=0.75)),
    (dict(rope_type="longrope", attention_factor=1.25, original_max_position_embeddings=64, **LONG), 24, 512, 512, {}),
    (dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
          original_max_position_embeddings=8192), 128, 131072, 8192, dict(rope_theta=500000.0)),
    (dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
          original_max_position_embeddings=8192), 64, 131072, 8192, dict(rope_theta=500000.0)),
]


class Config(PreTrainedConfig):
    model_type = "llama"


def numbers(scaling, head_dim, context, session, fields):
    """Inverse frequencies and magnitude."""
    theta, part = fields.get("rope_theta", 10000.0), fields.get("partial_rotary_factor", 1.0)
    if scaling is None:
        return 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float) / head_dim), 1.0
    config = Config(hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim, max_position_embeddings=context)
    kind = scaling.get("rope_type", scaling.get("type"))
    config.rope_parameters = dict(scaling, rope_type=kind, rope_theta=theta, partial_rotary_factor=part)
    if "original_max_position_embeddings" in fields:
        config.original_max_position_embeddings = fields["original_max_position_embeddings"]
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=session)


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "data" / "rope.json"
    lines = []
    for i, (scaling, head_dim, context, session, fields) in enumerate(CASES):
        frequencies, magnitude = numbers(scaling, head_dim, context, session, fields)
        config = dict(fields)
        if scaling and i % 2:
            theta = config.pop("rope_theta", 10000.0)
            config["rope_parameters"] = dict(scaling, rope_theta=theta)
        elif scaling:
            config["rope_scaling"] = scaling
        lines.append(json.dumps(dict(config=config, head_dim=head_dim, max_position_embeddings=context, session=session,
                                     inverse_frequencies=[float(f"{x:.8g}") for x in frequencies.tolist()],
                                     magnitude=float(magnitude))))
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
