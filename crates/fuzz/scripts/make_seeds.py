"""Writes the seed inputs of every fuzz target to ../corpus: small valid inputs, one for each branch that a fuzzer would
take long to find. Needs numpy, gguf and safetensors. Inputs that once broke a parser are in the same folders and are kept."""

import base64
import io
import json
import pathlib
import shutil
import struct
import tempfile

import gguf
import numpy as np
from safetensors.numpy import save

here = pathlib.Path(__file__).resolve().parent
corpus, crates = here.parent / "corpus", here.parent.parent
SEPARATOR = b"\n%%%\n"
rng = np.random.default_rng(1)


def put(target, name, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(data if isinstance(data, bytes) else data.encode())


def join(*parts):
    return SEPARATOR.join(p if isinstance(p, bytes) else json.dumps(p).encode() for p in parts)


LLAMA = {
    "model_type": "llama", "vocab_size": 8, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
SHAPES = {
    "self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32), "mlp.gate_proj": (32, 32), "mlp.up_proj": (32, 32), "mlp.down_proj": (32, 32),
}
NAMES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
norm = np.ones(32, np.float32)
floats = {
    "model.embed_tokens.weight": rng.standard_normal((8, 32)).astype(np.float16),
    "model.norm.weight": norm, "model.layers.0.input_layernorm.weight": norm,
    "model.layers.0.post_attention_layernorm.weight": norm,
}


def words(*shape):
    return rng.integers(-(2**31), 2**31, shape, dtype=np.int64).astype(np.int32)


def folder(name, settings, own, packed):
    """Writes a folder: `settings` is quantization_config, `own` is quantize_config.json, `packed` maps a shape to tensors."""
    tensors = dict(floats)
    for module, shape in SHAPES.items():
        for suffix, values in packed(*shape).items():
            tensors[f"model.layers.0.{module}.{suffix}"] = values
    config = LLAMA | ({"quantization_config": settings} if settings else {})
    put("folder", name, join(config, own or b"", b"", save(tensors)))


half = lambda *shape: rng.random(shape).astype(np.float16)
folder("plain", None, None, lambda o, i: {"weight": half(o, i)})
folder(
    "gptq", {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True, "sym": False}, None,
    lambda o, i: {"qweight": words(i // 8, o), "qzeros": words(i // 16, o // 8), "scales": half(i // 16, o),
                  "g_idx": np.arange(i, dtype=np.int32) // 16},
)
folder(
    "gptq3", None, {"bits": 3, "group_size": 32, "checkpoint_format": "gptq_v2", "dynamic": {"-:.*k_proj.*": {}}},
    lambda o, i: {"qweight": words(i * 3 // 32, o), "qzeros": words(i // 32, o * 3 // 32 if o >= 32 else 2),
                  "scales": half(i // 32, o), "g_idx": np.arange(i, dtype=np.int32) // 32},
)
folder(
    "awq", {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True, "version": "gemm"}, None,
    lambda o, i: {"qweight": words(i, o // 8), "qzeros": words(i // 16, o // 8), "scales": half(i // 16, o)},
)
group = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 16, "dynamic": False}
folder(
    "compressed-tensors",
    {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
     "config_groups": {"group_0": {"targets": ["Linear"], "weights": group}}, "ignore": ["lm_head"]}, None,
    lambda o, i: {"weight_packed": words(o, i // 8), "weight_scale": half(o, i // 16),
                  "weight_shape": np.array([o, i], np.int64)},
)
mlx = {"group_size": 32, "bits": 4}
tensors = dict(floats)
for module, (o, i) in SHAPES.items():
    path = f"model.layers.0.{module}"
    tensors |= {f"{path}.weight": words(o, i // 8).view(np.uint32), f"{path}.scales": half(o, i // 32),
                f"{path}.biases": half(o, i // 32)}
put("folder", "mlx", join(LLAMA | {"quantization": mlx}, b"", b"", save(tensors)))

put("safetensors", "two", save({"a": half(3, 4), "b": np.arange(5, dtype=np.int64)}))
shard = [save({"a": half(2, 2)}), save({"b": half(2, 2)})]
names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
put("safetensors_index", "two", join({"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}, *shard))

for path in sorted((crates / "model/tests/data/tiny").glob("*/config.json")):
    put("config", path.parent.name, json.dumps(json.loads(path.read_text()), separators=(",", ":")))
scaled = {"yarn": {"factor": 4.0, "beta_fast": 32, "original_max_position_embeddings": 64},
          "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 64}, "dynamic": {"factor": 2.0}}
for kind, fields in scaled.items():
    put("config", f"llama-{kind}", json.dumps(LLAMA | {"rope_scaling": {"rope_type": kind} | fields}))


def gguf_file(fill):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        fill(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def values(w):
    w.add_uint8("t.u8", 1); w.add_int8("t.i8", -1); w.add_uint16("t.u16", 2); w.add_int16("t.i16", -2)
    w.add_uint64("t.u64", 1 << 60); w.add_int64("t.i64", -1); w.add_float32("t.f32", 1.5); w.add_float64("t.f64", 0.1)
    w.add_bool("t.bool", True); w.add_string("t.text", "text"); w.add_array("t.list", [1, 2, 3])
    w.add_array("t.texts", ["a", "bc"])
    w.add_tensor("f16", half(2, 32))
    for kind in ["Q4_0", "Q8_0", "Q6_K", "Q4_K", "Q2_K", "IQ4_XS", "IQ2_XXS", "IQ1_M", "TQ1_0", "MXFP4"]:
        length, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        raw = rng.integers(0, 256, (1, size), dtype=np.uint8)
        w.add_tensor(kind.lower(), raw, raw_dtype=gguf.GGMLQuantizationType[kind])


put("gguf", "values", gguf_file(values))


def model(pre):
    def fill(w):
        w.add_context_length(64); w.add_embedding_length(32); w.add_block_count(1); w.add_feed_forward_length(32)
        w.add_head_count(2); w.add_head_count_kv(1); w.add_layer_norm_rms_eps(1e-5); w.add_rope_freq_base(1e4)
        if pre:
            w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre(pre)
            w.add_token_list(["a", "b", "ab", "\u0120", "c", "<|e|>", "d", "e"]); w.add_token_merges(["a b"])
            w.add_token_types([1, 1, 1, 1, 1, 3, 1, 1])
        else:
            w.add_tokenizer_model("llama")
            w.add_token_list(["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "\u2581a", "b"])
            w.add_token_scores([0, 0, 0, 0, -1, -2, -3, -4]); w.add_token_types([2, 3, 3, 6, 1, 1, 1, 1])
        w.add_chat_template("{{ messages[0].content }}")
        w.add_tensor("token_embd.weight", floats["model.embed_tokens.weight"])
        w.add_tensor("output_norm.weight", norm)
        w.add_tensor("blk.0.attn_norm.weight", norm); w.add_tensor("blk.0.ffn_norm.weight", norm)
        for name, shape in zip(NAMES, SHAPES.values()):
            w.add_tensor(f"blk.0.{name}.weight", half(*shape))
    return gguf_file(fill)


for pre in ["", "llama-bpe", "gpt-2", "qwen2"]:
    put("gguf_model", pre or "sentencepiece", model(pre))


def part(no):
    def fill(w):
        w.add_uint16("split.no", no); w.add_uint16("split.count", 2); w.add_int32("split.tensors.count", 2)
        w.add_tensor("ab"[no], half(2, 4))
    return gguf_file(fill)


put("gguf_parts", "two", join(part(0), part(1)))

added = [{"id": 4, "content": "<s>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
          "normalized": False}]
bpe = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3}, "merges": ["a b"]}
level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
put("tokenizer_json", "bpe", join(
    {"version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"}, "pre_tokenizer": level,
     "post_processor": None, "decoder": level, "model": bpe},
    {"bos_token": "<s>", "add_bos_token": True, "chat_template": "{{ messages[0].content }}"}))
unigram = {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
           "vocab": [["<unk>", 0.0], ["\u2581", -1.0], ["a", -2.0], ["b", -2.5]]}
put("tokenizer_json", "unigram", json.dumps(
    {"version": "1.0", "added_tokens": [], "normalizer": None,
     "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
     "post_processor": None, "decoder": None, "model": unigram}))
for path in sorted((crates / "text/tests/data").glob("*.model")):
    put("tokenizer_model", path.stem, path.read_bytes())
ranks = b"\n".join(base64.b64encode(bytes([b])) + f" {b}".encode() for b in range(256)) + b"\nYWI= 256\n"
config = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"257": {"content": "<|e|>"}}}
put("tiktoken", "bytes", join(config, b"", ranks))
put("tiktoken", "bare", join(b"", b"", ranks))
letters = [chr(b) for b in range(33, 127)]
put("vocab_merges", "small", join({t: i for i, t in enumerate(letters + ["ab", "\u0120"])}, b"#version: 0.2\na b\n",
                                  {"tokenizer_class": "GPT2Tokenizer"}, {"<|e|>": 96}))

put("hub_listing", "files", json.dumps({"sha": "0" * 40, "siblings": [
    {"rfilename": "config.json", "size": 10, "blobId": "1" * 40},
    {"rfilename": "model.safetensors", "size": 100, "blobId": "2" * 40, "lfs": {"sha256": "3" * 64, "size": 100}}]}))
put("hub_listing", "name", "org/model@main:Q4_K_M")

put("template", "plain", "{{ bos_token }}{% for m in messages %}{{ m.role|upper }}: {{ m.content|trim }}\n{% endfor %}"
    "{% if tools %}{{ tools|tojson(indent=2) }}{% endif %}{% if add_generation_prompt %}assistant:{% endif %}")
put("template", "macro", "{%- macro show(x, n=2) -%}{% if n > 0 %}{{ x }}{{ show(x ~ n, n - 1) }}{% endif %}"
    "{%- endmacro -%}{% set ns = namespace(i=0) %}{% for m in messages if m.role != 'tool' %}{% set ns.i = ns.i + 1 %}"
    "{{ show(m.content) }}{{ loop.index0 }}{{ loop.last }}{% else %}none{% endfor %}{{ ns.i }}")
put("template", "python", "{{ '%s-%5.2f'|format('a', 1.5) }}{{ 'a,b'.split(',')[::-1] }}{{ {'k': [1, none, true]} }}"
    "{{ messages|map(attribute='role')|join(', ') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}"
    "{% raw %}{{ }}{% endraw %}{{ 7 // 2 ** 2 % 3 }}{{ 'x' * 3 if 1 < 2 else '' }}{{ messages[0]['content'][1:-1] }}")
put("template", "refuse", "{% if not tools %}{{ raise_exception('no tools') }}{% endif %}{{ 1 / 0 }}")

# The first byte is the size of the pieces.
put("answer", "hermes", '\x01I see.\n<tool_call>\n{"name": "f", "arguments": {"x": [1, {"y": "\\u00e9</tool_call>"}]}}\n</tool_call>\nSo.')
put("answer", "llama", '\x02{"name": "g", "parameters": {"a": null}}; {"type": "function", "name": "f", "parameters": {"x": -1.5e3}}')
put("answer", "llama-tag", '\x05<|python_tag|>{"parameters": {}, "name": "g"}')
put("answer", "mistral", '\x03[TOOL_CALLS] [{"name": "f", "arguments": {"x": 1}, "id": "abcDEF123"}, {"name": "g"}]')
put("answer", "mistral-v11", '\x01[TOOL_CALLS]f[CALL_ID]abcDEF123[ARGS]{"x": 1}[TOOL_CALLS]g{}')
put("answer", "qwen3-coder", "\x04<tool_call>\n<function=f>\n<parameter=x>\n 1\n</parameter>\n<parameter=z>\na\n\n</parameter>\n"
    "</function>\n</tool_call><function=g></function>")
put("answer", "broken", '\x01<tool_call>{"name": "h"}</tool_call><tool_call>{"name": "f", "arguments": {]<tool_call>{"name": "f", "ar')
put("answer", "text", "\x01[TOOL_CALLS] <tool_call> <function=f(x)> <|python_tag|>print(1) {\"a\": 1} <tool_c")

put("private", "text", "Dear Ms Nowak, card 4111 1111 1111 1111, GB82 WEST 1234 5698 7654 32, ann@example.org, +44 20 7946 0958 x12,\n"
    "12 Baker Street, London, 2/16/1942, 536-90-4399, 10.0.0.7/8, fe80::1%eth0, 00:1A:2b:3C:4D:5E, https://a.example/p(1)?q#x.")
put("private", "disguised", "41\u200b11\u00a011\u201111 1111 1111\uff14 \\u0040 \"a\\n536904399\" a%40b.example \\ud83d\\ude00")
put("private", "table", "| SSN | Phone |\n|---|---|\n| 536904399 | 467 3395 |\n\n- bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4\n")
put("private_request", "chat", json.dumps({"model": "m", "metadata": {"a@b.org": 4111111111111111}, "messages": [
    {"role": "user", "name": "Ann Lee", "content": [{"type": "text", "text": "I am Ann Lee"}]},
    {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"q\": [\"Ann Lee\"]}"}}]}]}))
put("private_request", "messages", json.dumps({"system": [{"type": "text", "text": "Ann Lee"}], "messages": [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"q": "a@b.org"}}]}]}))
put("private_request", "responses", json.dumps({"input": [{"type": "function_call_output", "call_id": "c", "output": "{\"x\": 1}"}]}))
# The names are the surrogates of the target.
put("restore", "plain", "\x00Ask **Zugemefax** Fodamox's bank about 0055-9076-6545-9380, or bizusel.tubix89@example.net.")
put("restore", "json", "\x03{\"a\": \"x\\nZUGEMEFAX Fodamox\", \"b\": \"Zugemefa\"}")


def imatrix():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.gguf"
        writer = gguf.GGUFWriter(path, "")
        writer.kv_data[0].clear()
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", ["text.txt"])
        writer.add_uint32("imatrix.chunk_count", 2)
        writer.add_uint32("imatrix.chunk_size", 4)
        for name, experts in ("blk.0.attn_q", 1), ("blk.0.ffn_down_exps", 2):
            sums = np.arange(4 * experts, dtype=np.float32).reshape(experts, 4)
            writer.add_tensor(f"{name}.weight.in_sum2", sums)
            writer.add_tensor(f"{name}.weight.counts", np.full((experts, 1), 8, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


put("imatrix", "gguf", imatrix())
entry = struct.pack("<i", 19) + b"blk.0.attn_q.weight" + struct.pack("<2i4f", 2, 4, 0, 1, 2, 3)
put("imatrix", "dat", struct.pack("<i", 1) + entry + struct.pack("<2i", 2, 8) + b"text.txt")
put("imatrix", "dat-old", struct.pack("<i", 1) + entry)

for path in sorted((crates / "formats/tests/data").glob("*.parquet")):
    put("parquet", path.stem, path.read_bytes())

# Requests of the server: those of the coding agents in its tests, and small ones with the other fields.
agents = crates / "server" / "tests" / "agents"
put("openai_requests", "agent", (agents / "chat.json").read_bytes())
put("openai_requests", "chat", json.dumps({
    "model": "m", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c", "content": "4"}],
    "n": 2, "stop": ["a"], "seed": -1, "logit_bias": {"5": -100}, "top_logprobs": 2, "logprobs": True,
    "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}}))
put("openai_requests", "completion", json.dumps({"model": "m", "prompt": [[1, 2], [3]], "echo": True, "logprobs": 1, "max_tokens": 4, "suffix": ""}))
put("openai_requests", "infill", json.dumps({"input_prefix": "a", "input_suffix": "b", "n_predict": -1}))
put("openai_requests", "embeddings", json.dumps({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8}))
put("openai_requests", "classify", json.dumps({
    "model": "m", "input": ["a", "b"], "labels": ["x", {"name": "y", "description": "z"}], "examples": [{"text": "c", "labels": "x"}, {"text": "d", "labels": ["y"]}],
    "multi": True, "threshold": 0.25, "normalise": "none", "instruction": "Choose."}))
put("openai_requests", "extract", json.dumps({
    "model": "m", "input": "Zo\u00eb saw Ann.", "kinds": ["PERSON", {"name": "a/b"}], "max_tokens": 4,
    "instruction": json.dumps({"PERSON": ["Zo\u00eb", "Ann", "Ann"], "a/b": ["Bob"]})}))
put("openai_requests", "schema", json.dumps({"input": ["a"], "schema": {"type": "object"}, "instruction": json.dumps({"a": ["a", {"~/": "b"}]})}))
put("openai_requests", "verify", json.dumps({
    "model": "m", "messages": [{"role": "user", "content": "Hi"}], "begun": [5, 6], "draft": [7, 8], "vocabulary": "", "tokens": 2,
    "seed": 1, "temperature": 0.5, "max_tokens": 9, "response_format": {"type": "json_object"}}))
put("openai_requests", "verify-text", json.dumps({"prompt_tokens": [1, 2], "draft_text": "a", "temperature": 0, "tools": []}))
put("responses_requests", "agent", (agents / "responses.json").read_bytes())
put("responses_requests", "items", json.dumps({
    "model": "m", "input": [
        {"role": "user", "content": "Hi"}, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}, {"type": "refusal", "refusal": "b"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "4"}]}, {"type": "item_reference", "id": "x"}],
    "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}}, "truncation": "auto", "metadata": {"a": "b"}, "top_logprobs": 1}))
put("messages_requests", "agent", (agents / "messages.json").read_bytes())
put("messages_requests", "parts", json.dumps({
    "max_tokens": 4, "system": "Be kind.", "messages": [
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": ""}, {"type": "redacted_thinking", "data": "x"},
                                          {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": [{"type": "text", "text": "4"}]},
                                     {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "b"}}]}],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "stop_sequences": ["a"], "temperature": 1, "top_k": 5, "top_p": 0.5, "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}}}))
put("ollama_requests", "chat", json.dumps({
    "model": "m", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "thinking": "Hm", "tool_calls": [
        {"function": {"name": "f", "arguments": {"a": 1}}}]}, {"role": "tool", "tool_name": "f", "content": "4"}],
    "tools": [{"type": "function", "function": {"name": "f"}}], "format": {"type": "object"}, "think": "low", "keep_alive": "1h30m",
    "options": {"num_predict": -1, "seed": 7, "stop": "a", "top_k": 1, "repeat_last_n": -1, "min_p": 0.1}, "top_logprobs": 2}))
put("ollama_requests", "generate", json.dumps({"model": "m", "prompt": "a", "suffix": "b", "format": "json", "raw": False, "keep_alive": -1}))
put("ollama_requests", "pull", json.dumps({"name": "org/repo", "insecure": False, "stream": False}))
put("ollama_requests", "embed", json.dumps({"model": "m", "input": ["a"], "truncate": True, "dimensions": 4}))
put("streams", "parts", b"\x02Hm.\x00\x06I look.\x00\x03f\x00\x04{\"a\":\x00\x04 1}\x00\x05\x00\x07 So.")
put("streams", "failed", b"\x0cI\x00\x03f\x00\x04{\"a\"")
estimator = (crates / "honelm/data/router.estimator").read_bytes()
head = json.loads(estimator[12 : 12 + struct.unpack("<I", estimator[8:12])[0]])
for name in ("gains", "kept", "wrong"):
    head["calibration"][name] = head["calibration"][name][::64]
put("estimator", "plain", json.dumps(head))
head["corrected"] = {"weights": [0.5] * 6, "bias": 0.1, "calibration": head["calibration"]}
put("estimator", "corrected", json.dumps(head))
put("traffic", "lines", "\n\n".join(json.dumps(line) for line in (
    {"prompt": "a", "local": True, "cloud": 0.5, "group": "g", "agree": False, "prompt_tokens": 1, "completion_tokens": 2},
    {"messages": [{"role": "system", "content": "b"}, {"role": "user", "content": [{"type": "text", "text": "c"}]}], "tools": [{}],
     "local": 0, "cloud": 1, "confidence": {"top_probability": 0.5, "margin": 0.1, "entropy": 1, "agreement": 1}})))
put("gateway_file", "example", (crates.parent / "deploy/gateway.toml").read_bytes())
