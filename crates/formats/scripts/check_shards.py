"""Reads a model in parts with gguf-py or the safetensors package and compares it with the same model in one file.

Run by hand: pip install numpy gguf safetensors torch; python check_shards.py WHOLE PARTS...
PARTS are the parts of a GGUF model in order, or a folder with an index.
"""
import json
import pathlib
import sys

whole, parts = sys.argv[1], sys.argv[2:]
if whole.endswith(".gguf"):
    import gguf

    one = {t.name: t for t in gguf.GGUFReader(whole).tensors}
    readers = [gguf.GGUFReader(part) for part in parts]
    many = [t for reader in readers for t in reader.tensors]
    marks = [{k: r.fields[f"split.{k}"].contents() for k in ("no", "count", "tensors.count")} for r in readers]
    assert marks == [{"no": i, "count": len(parts), "tensors.count": len(one)} for i in range(len(parts))], marks
    assert [t.name for t in many] == list(one)
    for tensor in many:
        assert tensor.tensor_type == one[tensor.name].tensor_type and (tensor.data == one[tensor.name].data).all()
else:
    import torch
    from safetensors import safe_open

    def read(path):
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}

    one = read(pathlib.Path(whole) / "model.safetensors")
    folder = pathlib.Path(parts[0])
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = {name: read(folder / name) for name in sorted(set(index["weight_map"].values()))}
    assert {t: f for f, tensors in files.items() for t in tensors} == index["weight_map"]
    many = {name: files[file][name] for name, file in index["weight_map"].items()}
    assert set(many) == set(one) and all(torch.equal(one[name], many[name]) for name in one)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in one.values())
print(f"{len(many)} tensors are equal")
