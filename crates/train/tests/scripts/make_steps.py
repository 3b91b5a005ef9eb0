#!/usr/bin/env python3
"""Make the golden training steps in ../data/steps.json.

usage: make_steps.py

Two AdamW steps of three tiny models of crates/model, computed by PyTorch in float32: the mean cross entropy of the text's next
tokens, its gradients clipped to a norm, then a step. The file has the loss before, between and after the steps, the norm of the
first gradients, and for every parameter some values of its first gradient (not clipped) and its values after both steps, at
the places `places` gives.

Written with torch 2 on a CPU and transformers 5. Tests allow 1e-3 of the largest value of a parameter.
Needs: pip install torch transformers safetensors
"""
import json
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "model/tests/scripts"))
import make_tiny_models as tiny  # noqa: E402

MODELS = ["llama-grouped", "gemma2-caps", "gpt2-tied"]
ADAM = dict(rate=0.01, betas=[0.9, 0.95], epsilon=1e-3, decay=0.1)
CLIP = 0.5
PLACES = 6


def places(count):
    """Places spread over a parameter of `count` values."""
    return [(i * 7919 + i * i) % count for i in range(PLACES)]


def make(name):
    entry = tiny.MODELS[name]
    tokens = torch.from_numpy(((tiny.uniform(name, entry["tokens"]) + 1) * tiny.V / 2).astype(np.int64))
    net = tiny.build(entry, entry["config"]).float()
    adam = torch.optim.AdamW(net.parameters(), lr=ADAM["rate"], betas=ADAM["betas"], eps=ADAM["epsilon"],
                             weight_decay=ADAM["decay"])

    def loss():
        logits = net(tokens[None], use_cache=False).logits[0]
        return torch.nn.functional.cross_entropy(logits[:-1], tokens[1:])

    losses, first, norm = [], {}, None
    for step in range(2):
        adam.zero_grad()
        found = loss()
        losses.append(found.item())
        found.backward()
        if step == 0:
            first = {n: p.grad.flatten()[places(p.numel())].tolist() for n, p in net.named_parameters()}
        total = torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP).item()
        norm = total if step == 0 else norm
        adam.step()
    with torch.no_grad():
        losses.append(loss().item())
    values = {n: p.detach().flatten()[places(p.numel())].tolist() for n, p in net.named_parameters()}
    print(f"{name:20} losses {losses}  norm {norm:.4f}")
    parameters = {n: dict(gradient=first[n], value=values[n]) for n in values}
    return dict(tokens=tokens.tolist(), losses=losses, norm=norm, parameters=parameters)


def rounded(x):
    """Numbers with 8 digits."""
    if isinstance(x, float):
        return float(f"{x:.8g}")
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list) else x


def main():
    torch.set_num_threads(1)
    steps = dict(adam=ADAM, clip=CLIP, models={name: make(name) for name in MODELS})
    path = HERE.parent / "data" / "steps.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rounded(steps), separators=(",", ":")).replace('"model', '\n"model') + "\n")


if __name__ == "__main__":
    main()
