"""Reads the GGUF file that `cargo run -p honelm-formats --example write_sample` writes with gguf-py.

Run by hand: pip install numpy gguf; python check_written_gguf.py FILE
"""
import sys

import gguf
import numpy as np

reader = gguf.GGUFReader(sys.argv[1])
fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
print(fields)
assert fields == {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.tokens": ["<s>", "grüße", "▁the"],
    "tokenizer.ggml.scores": [0.0, -1.5, 2.0],
    "tokenizer.ggml.token_type": [3, 1, 1],
    "tokenizer.ggml.add_bos_token": True,
}
expected = (np.arange(128, dtype=np.float32) - 7) / 4
tensors = {tensor.name: tensor for tensor in reader.tensors}
assert list(tensors) == ["a", "b", "c"]
assert [t.tensor_type.name for t in reader.tensors] == ["F32", "F16", "Q8_0"]
assert all(t.data_offset % 32 == 0 for t in reader.tensors)
for name, shape in {"a": (3, 5), "b": (2, 3, 4), "c": (2, 64)}.items():
    values = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type).reshape(shape)
    wanted = expected[: values.size].reshape(shape)
    error = np.abs(values - wanted).max()
    print(name, tensors[name].shape, error)
    assert error <= (0 if name != "c" else 0.13)
