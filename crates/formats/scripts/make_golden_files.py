"""Writes tests/data/golden.gguf with gguf-py and tests/data/golden.safetensors with safetensors.

Run once by hand: pip install numpy gguf safetensors; python make_golden_files.py
"""
import pathlib

import gguf
import numpy as np
import safetensors.numpy

DATA = pathlib.Path(__file__).parent.parent / "tests" / "data"


def numbers(*shape):
    """Returns values that every float type here holds exactly."""
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 7) / 4


def write_gguf(path):
    w = gguf.GGUFWriter(path, "llama")
    w.add_uint8("test.u8", 200)
    w.add_int8("test.i8", -100)
    w.add_uint16("test.u16", 60000)
    w.add_int16("test.i16", -30000)
    w.add_uint32("test.u32", 4000000000)
    w.add_int32("test.i32", -2000000000)
    w.add_uint64("test.u64", 2**63 + 1)
    w.add_int64("test.i64", -(2**62))
    w.add_float32("test.f32", 0.1)
    w.add_float64("test.f64", 0.1)
    w.add_bool("test.bool", True)
    w.add_string("test.string", "grüße 🦙")
    w.add_array("test.strings", ["<s>", "", "▁the"])
    w.add_array("test.floats", [0.5, -1.0, 1e10])
    w.add_array("test.ints", [1, -2, 3])
    w.add_array("test.bools", [True, False])
    w.add_tensor("a.f32", numbers(3, 5))
    w.add_tensor("b.f16", numbers(2, 3, 4).astype(np.float16))
    q8 = gguf.quants.quantize(numbers(2, 64), gguf.GGMLQuantizationType.Q8_0)
    w.add_tensor("c.q8_0", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    bf16 = gguf.quants.quantize(numbers(6), gguf.GGMLQuantizationType.BF16)
    w.add_tensor("d.bf16", bf16, raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.add_tensor("e.i32", np.array([-1, 2**31 - 1], dtype=np.int32))
    w.add_tensor("f.f64", np.array([1.5, -2.5], dtype=np.float64))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_safetensors(path):
    tensors = {
        "a.f32": numbers(3, 5),
        "b.f16": numbers(2, 3, 4).astype(np.float16),
        "c.i64": np.array([-(2**62), 5], dtype=np.int64),
        "d.i32": np.array([[-1], [2**31 - 1]], dtype=np.int32),
        "e.u8": np.array([0, 255], dtype=np.uint8),
        "f.i8": np.array([-128, 127], dtype=np.int8),
        "g.bool": np.array([True, False]),
        "h.scalar": np.array(2.5, dtype=np.float32),
        "i.empty": np.zeros((0, 4), dtype=np.float16),
        "j.f64": np.array([1.5], dtype=np.float64),
    }
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt", "note": "grüße"})


write_gguf(DATA / "golden.gguf")
write_safetensors(DATA / "golden.safetensors")
