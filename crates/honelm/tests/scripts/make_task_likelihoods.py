"""Writes tests/data/task-likelihoods.jsonl: the log-likelihoods of the shipped model on the choices and cloze items of
data/tasks.jsonl.

    pip install numpy tokenizers && pip install --no-deps lm_eval==0.4.13
    python crates/honelm/tests/scripts/make_task_likelihoods.py

Tokens are divided by lm-evaluation-harness, whose function is taken out of the package's sources, since importing it needs
torch. The model is computed in double precision, one whole text at a time.
"""

import ast
import importlib.util
import json
import pathlib
import struct

import numpy as np
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).parents[4]
MODEL = ROOT / "models" / "pocket"
TASKS = ROOT / "crates" / "honelm" / "data" / "tasks.jsonl"
OUT = pathlib.Path(__file__).parents[1] / "data" / "task-likelihoods.jsonl"
HARNESS = pathlib.Path(importlib.util.find_spec("lm_eval").origin).parent / "api" / "model.py"

config = json.loads((MODEL / "config.json").read_text())
tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    types = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in entry["data_offsets"])
            values = np.frombuffer(data[begin:end], types[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


weights = read_safetensors(MODEL / "model.safetensors")


def norm(x, name):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[f"{name}.weight"]


def logits(tokens):
    """Returns the logits of every position of a Llama model."""
    heads, groups, width = (config[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    n = len(tokens)
    base = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    angles = np.arange(n)[:, None] * base ** (-np.arange(0, width, 2) / width)
    cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None] for f in (np.cos, np.sin))

    def turned(x):
        a, b = np.split(x, 2, -1)
        return x * cos + np.concatenate([-b, a], -1) * sin

    x = weights["model.embed_tokens.weight"][tokens]
    mask = np.triu(np.full((n, n), -np.inf), 1)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        y = norm(x, f"{layer}.input_layernorm")
        q, k, v = (
            (y @ weights[f"{layer}.self_attn.{name}_proj.weight"].T).reshape(n, -1, width) for name in "qkv"
        )
        q, k = turned(q), turned(k)
        k, v = (np.repeat(t, heads // groups, 1) for t in (k, v))
        scores = np.einsum("qhe,khe->hqk", q, k) / np.sqrt(width) + mask
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        y = np.einsum("hqk,khe->qhe", p, v).reshape(n, -1)
        x = x + y @ weights[f"{layer}.self_attn.o_proj.weight"].T
        y = norm(x, f"{layer}.post_attention_layernorm")
        gate, up = (y @ weights[f"{layer}.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"{layer}.mlp.down_proj.weight"].T
    return norm(x, "model.norm") @ weights["model.embed_tokens.weight"].T


def encode_pair_of_the_harness():
    for node in ast.walk(ast.parse(HARNESS.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == "_encode_pair":
            scope = {}
            exec(ast.unparse(node), scope)
            return scope["_encode_pair"]
    raise LookupError("_encode_pair")


class Causal:
    backend = "causal"
    encode_pair = encode_pair_of_the_harness()

    def tok_encode(self, text):
        return tokenizer.encode(text).ids


def likelihood(context, continuation):
    context, continuation = Causal().encode_pair(context, continuation)
    rows = logits((context + continuation)[:-1])[-len(continuation) :]
    top = rows.max(-1, keepdims=True)
    logs = rows - top - np.log(np.exp(rows - top).sum(-1, keepdims=True))
    greedy = bool((logs.argmax(-1) == continuation).all())
    return float(logs[np.arange(len(continuation)), continuation].sum()), greedy


lines = []
for number, line in enumerate(TASKS.read_text().splitlines(), 1):
    item = json.loads(line)
    texts = item.get("choices") or [item["target"]] if item["kind"] != "generate" else []
    if texts and "context" in item:
        found = [likelihood(item["context"], item.get("delimiter", " ") + text) for text in texts]
        logs, greedy = [log for log, _ in found], [is_greedy for _, is_greedy in found]
        fields = {"line": number, "log": [round(log, 6) for log in logs], "greedy": greedy}
        if item["kind"] == "choice":
            per_byte = np.array(logs) / [float(len(text.encode())) for text in texts]
            fields |= {"acc": int(np.argmax(logs)) == item["answer"], "acc_norm": int(per_byte.argmax()) == item["answer"]}
        else:
            fields |= {"acc": greedy[0]}
        lines.append(json.dumps(fields) + "\n")
OUT.write_text("".join(lines))
right = sum(json.loads(line)["acc"] for line in lines)
print(f"{OUT}: {len(lines)} items, {right} right")
