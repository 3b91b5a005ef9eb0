#!/usr/bin/env python3
"""Make the golden steps of a distillation in ../data/distil.json.

usage: make_distil.py

Two AdamW steps in which tiny models of crates/model learn from another one, computed by PyTorch in float32: alpha T^2 KL(teacher ||
student) at the temperature T plus (1 - alpha) times the cross entropy of the text's next tokens, each the mean over positions, plus
`weight` times the squared difference between the outputs of two layers, divided by the teacher's squares. The gradients are clipped to
a norm. The file has the loss of each step, the divergence at temperature 1 and the cross entropy before, between and after the steps,
and for every parameter some values after both steps, at the places that make_steps.py gives.

Written with torch 2 on a CPU and transformers 5. Tests allow 1e-3 of the largest value of a parameter.
Needs: pip install torch transformers safetensors
"""
import json

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from make_steps import HERE, places, rounded, tiny

TEACHER = "llama-grouped"
STUDENTS = ["gemma2-caps", "gpt2-tied"]
ADAM = dict(rate=0.01, betas=[0.9, 0.95], epsilon=1e-3, decay=0.0)
LOSS = dict(alpha=0.7, temperature=2.0, weight=0.5, pair=[0, 1])
CLIP = 0.5


def build(name):
    entry = tiny.MODELS[name]
    return tiny.build(entry, entry["config"]).float()


def kl(teacher, student):
    return kl_div(log_softmax(student, -1), softmax(teacher, -1), reduction="sum") / len(student)


def make(name):
    tokens = torch.from_numpy(((tiny.uniform(name, 20) + 1) * tiny.V / 2).astype(np.int64))
    teacher, net = build(TEACHER), build(name)
    adam = torch.optim.AdamW(net.parameters(), lr=ADAM["rate"], betas=ADAM["betas"], eps=ADAM["epsilon"],
                             weight_decay=ADAM["decay"])

    def run(model):
        found = model(tokens[None], use_cache=False, output_hidden_states=True)
        return found.logits[0], [state[0] for state in found.hidden_states]

    with torch.no_grad():
        target, states = run(teacher)

    def losses():
        logits, own = run(net)
        hard = cross_entropy(logits[:-1], tokens[1:])
        t, (mine, its) = LOSS["temperature"], LOSS["pair"]
        soft = t * t * kl(target / t, logits / t)
        # The first of the hidden states is the embedding.
        difference = ((own[mine + 1] - states[its + 1]) ** 2).sum() / (states[its + 1] ** 2).sum()
        whole = LOSS["alpha"] * soft + (1 - LOSS["alpha"]) * hard + LOSS["weight"] * difference
        return whole, dict(divergence=kl(target, logits).item(), nll=hard.item())

    training, measured = [], []
    for _ in range(2):
        adam.zero_grad()
        whole, found = losses()
        training.append(whole.item())
        measured.append(found)
        whole.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        adam.step()
    with torch.no_grad():
        measured.append(losses()[1])
    print(f"{name:20} losses {training}  {measured}")
    values = {n: p.detach().flatten()[places(p.numel())].tolist() for n, p in net.named_parameters()}
    return dict(tokens=tokens.tolist(), training=training, measured=measured, values=values)


def main():
    torch.set_num_threads(1)
    steps = dict(teacher=TEACHER, adam=ADAM, loss=LOSS, clip=CLIP, models={name: make(name) for name in STUDENTS})
    path = HERE.parent / "data" / "distil.json"
    path.write_text(json.dumps(rounded(steps), separators=(",", ":")).replace('"models', '\n"models') + "\n")


if __name__ == "__main__":
    main()
