"""Writes tests/data/{gptqmodel,autoawq,compressed-tensors-VERSION,mlx,fp8}.safetensors: modules packed by the
packages that define the formats, and the weights that the same packages read back, in float32.

Codes, scales, zero points and column groups are random. The packages quantise, pack and decode. The metadata
string `layers` lists the name, shape, class and settings of each module.

Run once by hand, with one argument: gptqmodel, autoawq, compressed-tensors, mlx or fp8 (transformers 5.23).
    pip install torch transformers safetensors numpy
    gptqmodel: pip install gptqmodel (7.7.0; its source suffices)    autoawq: pip install autoawq (0.2.9; its source suffices)
    compressed-tensors: pip install compressed-tensors (run once with 0.17.1 and once with 0.20.0)    mlx: pip install mlx[cpu] (0.32.4)
"""
import json
import pathlib
import sys

import numpy as np
import safetensors.numpy

DATA = pathlib.Path(__file__).parent.parent / "tests" / "data"
rng = np.random.default_rng(11)
tensors, layers = {}, []


def random(rows, cols, bits, group, symmetric, lowest_zero=0, dtype=np.float16):
    """Returns codes, scales, zero points and the weight that they represent exactly, in float32."""
    groups = -(-cols // group)
    q = rng.integers(0, 2**bits, (rows, cols))
    z = np.full((rows, groups), 2 ** (bits - 1)) if symmetric else rng.integers(lowest_zero, 2**bits, (rows, groups))
    s = (rng.random((rows, groups)) * 0.1 + 0.001).astype(dtype).astype(np.float32)
    return q, s, z


def add(name, rows, cols, settings, parts, expected, module="Linear"):
    for suffix, value in parts.items():
        tensors[f"{name}.{suffix}"] = np.ascontiguousarray(value)
    tensors[f"{name}.expected"] = np.ascontiguousarray(expected, dtype=np.float32)
    layers.append({"name": name, "rows": rows, "cols": cols, "class": module, "settings": settings})


def gptqmodel():
    import torch
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import FORMAT, QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    def layer(name, rows, cols, bits, group, form="gptq", act_order=False, symmetric=False, dynamic=None, g_idx=True):
        size = cols if group == -1 else group
        lowest = 1 if form == "gptq" else 0
        q, s, z = random(rows, cols, bits, size, symmetric, lowest)
        order = np.arange(cols) // size
        if act_order:
            order = rng.permutation(order)
        linear = torch.nn.Linear(cols, rows, bias=False)
        linear.weight.data = torch.from_numpy(s[:, order] * (q - z[:, order]).astype(np.float32))
        module = TorchLinear(bits=bits, group_size=group, desc_act=act_order, sym=symmetric, in_features=cols,
                             out_features=rows, bias=False, pack_dtype=torch.int32, register_buffers=True,
                             format=FORMAT(form))
        module.pack_original(linear, torch.from_numpy(s), torch.from_numpy(z.astype(np.float32)),
                             torch.from_numpy(order.astype(np.int32)))
        half = module.scales.clone()
        module.enable_wf_unsqueeze = True
        module.scales = module.scales.float()
        expected = module.dequantize_weight().T.float().numpy()
        assert np.array_equal(expected, linear.weight.data.numpy()), name
        settings = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order,
                    "sym": symmetric, "checkpoint_format": form}
        if form == "gptq":
            convert_gptq_v2_to_v1_format_module(module, QuantizeConfig(bits=bits, group_size=size))
        parts = {"qweight": module.qweight.numpy(), "qzeros": module.qzeros.numpy(), "scales": half.numpy()}
        if g_idx:
            parts["g_idx"] = module.g_idx.numpy()
        if dynamic:
            settings |= dynamic
        add(name, rows, cols, settings, parts, expected)

    for bits in (2, 3, 4, 8):
        layer(f"w{bits}_v1", 32, 32, bits, 16)
        layer(f"w{bits}_v2_act", 32, 32, bits, 16, "gptq_v2", act_order=True)
        layer(f"w{bits}_p", 32, 32, bits, 32, "gptq_p", g_idx=False)
    for bits in (5, 6, 7):
        layer(f"w{bits}_p_act", 32, 64, bits, 16, "gptq_p", act_order=True)
        layer(f"w{bits}_v1", 32, 32, bits, 32, "gptq")
    layer("w4_symmetric_rows", 16, 48, 4, -1, symmetric=True)
    layer("w4_odd", 20, 44, 4, 16, "gptq_v2")
    layer("w2_odd_v1", 20, 44, 2, 16)
    # One module has other settings.
    other = {"bits": 8, "group_size": 128, "sym": True,
             "dynamic": {"-:w9": {}, "+:w4_dyn.*": {"bits": 4, "group_size": 16, "sym": False}}}
    layer("w4_dynamic", 16, 48, 4, 16, dynamic=other)


def autoawq():
    import torch
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    def layer(name, rows, cols, group, settings):
        size = cols if group == -1 else group
        q, s, z = random(rows, cols, 4, size, False)
        linear = torch.nn.Linear(cols, rows, bias=False)
        linear.weight.data = torch.from_numpy(np.repeat(s, size, 1) * (q - np.repeat(z, size, 1)).astype(np.float32))
        module = WQLinear_GEMM.from_linear(linear, 4, size, scales=torch.from_numpy(s.T.copy()),
                                           zeros=torch.from_numpy(z.T.astype(np.float32)))
        expected = dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), 4, size).T.numpy()
        assert np.array_equal(expected, linear.weight.data.numpy()), name
        parts = {"qweight": module.qweight.numpy(), "qzeros": module.qzeros.numpy(), "scales": module.scales.numpy()}
        add(name, rows, cols, settings, parts, expected)

    layer("groups", 32, 96, 32, {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True,
                                 "version": "gemm", "modules_to_not_convert": None})
    layer("rows", 32, 48, -1, {"w_bit": 4, "q_group_size": -1, "zero_point": True, "version": "GEMM"})


def compressed_tensors():
    import torch
    import compressed_tensors as package
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor as Packed
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    version = package.__version__

    def layer(name, rows, cols, bits, group, symmetric, dtype=torch.bfloat16, act_order=False):
        size = group or cols
        q, s, z = random(rows, cols, bits, size, symmetric)
        s = torch.from_numpy(s).to(dtype).float().numpy()
        order = rng.permutation(np.arange(cols) // size) if act_order else np.arange(cols) // size
        weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "dynamic": False,
                   "strategy": "group" if group else "channel"}
        if group:
            weights["group_size"] = group
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
        middle = 2 ** (bits - 1)
        exact = torch.from_numpy(s[:, order] * (q - z[:, order]).astype(np.float32))
        state = {"weight": exact, "weight_scale": torch.from_numpy(s)}
        if not symmetric:
            state["weight_zero_point"] = torch.from_numpy((z - middle).astype(np.int8))
        if act_order:
            from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
            from compressed_tensors.quantization.lifecycle.forward import dequantize
            packed = {"weight_packed": pack_to_int32(torch.from_numpy((q - middle).astype(np.int8)), bits),
                      "weight_scale": state["weight_scale"], "weight_shape": torch.tensor(exact.shape),
                      "weight_g_idx": torch.from_numpy(order.astype(np.int32))}
            if not symmetric:
                packed["weight_zero_point"] = pack_to_int32(state["weight_zero_point"], bits, packed_dim=0)
            expected = dequantize(torch.from_numpy((q - middle).astype(np.int8)), state["weight_scale"],
                                  state.get("weight_zero_point"), scheme.weights, g_idx=packed["weight_g_idx"]).numpy()
            weights["actorder"] = "group"
        else:
            packed = Packed.compress(state, scheme)
            expected = Packed.decompress(dict(packed), scheme)["weight"].float().numpy()
        assert np.array_equal(expected, exact.numpy()), name
        parts = {key: value.numpy() for key, value in packed.items() if key != "weight_scale"}
        bits16 = packed["weight_scale"].to(dtype)
        parts["weight_scale"] = bits16.view(torch.uint16).numpy() if dtype == torch.bfloat16 else bits16.numpy()
        settings = {"quant_method": "compressed-tensors", "format": "pack-quantized", "version": version,
                    "quantization_status": "compressed", "ignore": ["lm_head", "re:.*ignored.*"],
                    "config_groups": {"group_0": {"targets": ["re:other.*"], "weights": {**weights, "num_bits": 8}},
                                      "group_1": {"targets": ["Linear"], "weights": weights}}}
        add(name, rows, cols, settings, parts, expected)

    for bits in (2, 3, 4, 5, 6, 7, 8):
        layer(f"w{bits}_symmetric", 16, 64, bits, 32, True)
        layer(f"w{bits}_asymmetric", 24, 64, bits, 32, False, torch.float16)
    layer("w4_channel", 16, 50, 4, None, True, torch.float32)
    layer("w8_channel_asymmetric", 13, 37, 8, None, False)
    layer("w3_odd", 11, 50, 3, None, False)
    def fp8(name, rows, cols, strategy, block=None):
        from compressed_tensors.compressors.naive_quantized.base import FloatQuantizationCompressor as Float
        weights = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False, "strategy": strategy}
        if block:
            weights["block_structure"] = block
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
        shape = {"tensor": (1,), "channel": (rows, 1)}.get(strategy) or (-(-rows // block[0]), -(-cols // block[1]))
        scale = torch.from_numpy((rng.random(shape) * 0.01 + 0.001).astype(np.float32)).to(torch.bfloat16)
        weight = torch.from_numpy(rng.standard_normal((rows, cols)).astype(np.float32))
        packed = Float.compress({"weight": weight, "weight_scale": scale.float()}, scheme)
        expected = Float.decompress(dict(packed), scheme)["weight"].float().numpy()
        parts = {"weight": packed["weight"].view(torch.uint8).numpy(), "weight_scale": scale.view(torch.uint16).numpy(),
                 "input_scale": np.ones(1, np.float32)}
        activations = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": True, "strategy": "token"}
        settings = {"quant_method": "compressed-tensors", "format": "float-quantized", "version": version,
                    "quantization_status": "compressed", "ignore": ["lm_head"],
                    "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                                  "input_activations": activations}}}
        add(name, rows, cols, settings, parts, expected)

    if version >= "0.18":
        fp8("fp8_tensor", 12, 40, "tensor")
        fp8("fp8_channel", 12, 40, "channel")
        fp8("fp8_block", 32, 64, "block", [16, 32])
    if version < "0.18":
        layer("w4_act", 16, 64, 4, 16, True, act_order=True)
        layer("w4_act_asymmetric", 16, 64, 4, 16, False, act_order=True)
    return f"compressed-tensors-{'.'.join(version.split('.')[:2])}"


def mlx():
    import mlx.core as mx

    def layer(name, rows, cols, bits, group, dtype, settings=None, module="Linear"):
        w = mx.array(rng.standard_normal((rows, cols)).astype(np.float32)).astype(dtype)
        weight, scales, biases = mx.quantize(w, group_size=group, bits=bits, mode="affine")
        expected = mx.dequantize(weight, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group,
                                 bits=bits, mode="affine")
        raw = lambda x: np.array(x.view(mx.uint16)) if dtype == mx.bfloat16 else np.array(x)
        parts = {"weight": np.array(weight), "scales": raw(scales), "biases": raw(biases)}
        settings = settings or {"group_size": group, "bits": bits, "mode": "affine"}
        add(name, rows, cols, settings, parts, np.array(expected), module)

    for bits in (2, 3, 4, 5, 6, 8):
        layer(f"w{bits}", 8, 128, bits, 64, mx.bfloat16 if bits in (3, 4) else mx.float16)
    layer("w4_f32", 8, 64, 4, 32, mx.float32)
    layer("embedding", 16, 64, 4, 64, mx.float16, module="Embedding")
    layer("model.own", 8, 64, 6, 32, mx.float16,
          {"group_size": 64, "bits": 4, "model.own": {"group_size": 32, "bits": 6}, "model.none": False})


def fp8():
    """Writes transformers' fine-grained FP8, dequantised by transformers itself."""
    import torch
    from types import SimpleNamespace
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    def layer(name, rows, cols, block, dtype, module="Linear", suffix="weight_scale_inv"):
        shape = (-(-rows // block[0]), -(-cols // block[1])) if block else (1, 1)
        scale = torch.from_numpy((rng.random(shape) * 0.01 + 0.001).astype(np.float32)).to(dtype)
        codes = torch.from_numpy(rng.integers(0, 256, (rows, cols)).astype(np.uint8))
        codes[(codes & 0x7F) == 0x7F] = 0x7E  # no NaN
        weight = codes.view(torch.float8_e4m3fn)
        expected = Fp8Dequantize(SimpleNamespace())._dequantize_one(weight, scale.float(), torch.float32).numpy()
        raw = scale.view(torch.uint16).numpy() if dtype == torch.bfloat16 else scale.numpy()
        settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": block}
        add(name, rows, cols, settings, {"weight": codes.numpy(), suffix: raw if block else raw[0]}, expected, module)

    layer("blocks", 32, 64, [16, 32], torch.float32)
    layer("one_block", 16, 32, [128, 128], torch.bfloat16)
    layer("tensor", 8, 40, None, torch.float32, suffix="weight_scale")
    layer("embedding", 8, 40, None, torch.float32, "Embedding", "weight_scale")


def save(name):
    # numpy has no bfloat16: its bits are written as u16, and the header is corrected.
    bf16 = {key for key in tensors if key.endswith(("scale", "scales", "biases")) and tensors[key].dtype == np.uint16}
    bf16 |= {key for key in tensors if key.endswith("scale_inv") and tensors[key].dtype == np.uint16}
    e4m3 = {key for key in tensors if key.endswith(".weight") and tensors[key].dtype == np.uint8}
    data = safetensors.numpy.save(tensors, metadata={"format": "pt", "layers": json.dumps(layers)})
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for key in bf16:
        header[key]["dtype"] = "BF16"
    for key in e4m3:
        header[key]["dtype"] = "F8_E4M3"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (DATA / f"{name}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


writer = sys.argv[1]
makers = {"gptqmodel": gptqmodel, "autoawq": autoawq, "compressed-tensors": compressed_tensors, "mlx": mlx, "fp8": fp8}
save(makers[writer]() or writer)
