"""Writes the Parquet files of ../tests/data with pyarrow, and what pyarrow reads back from them (parquet.json). Needs pyarrow
(made with 26.0.1)."""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

data = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
texts = [None if i % 7 == 3 else f"Text {i % 5}: a house – une forêt. " * (i % 4) for i in range(40)]
talk = [
    [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": None if i % 5 == 4 else f"Answer {i}."}]
    for i in range(20)
]
talk[3], talk[6] = [], None
talk[7].append({"role": "user", "content": "And then?"})

plain = pa.table({"id": list(range(40)), "text": pa.array(texts, pa.string())})
chat = pa.table({"messages": talk, "text": pa.array([str(i) for i in range(20)], pa.large_string())})
# Lists in a structure, as older data sets have them.
apart = pa.table({"messages": pa.array([{"role": ["user"], "content": ["Hello."]}, {"role": [], "content": []}])})
required = pa.table(
    {"text": pa.array(["a", "", "b"])}, schema=pa.schema([pa.field("text", pa.string(), nullable=False)])
)

files = {
    "snappy": (plain, {"compression": "snappy", "row_group_size": 16}),
    "plain": (plain, {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"}),
    "pages": (plain, {"compression": "snappy", "data_page_version": "2.0", "data_page_size": 64, "write_batch_size": 8}),
    "chat": (chat, {"compression": "snappy"}),
    "chat2": (chat, {"compression": "snappy", "data_page_version": "2.0", "use_dictionary": False}),
    "apart": (apart, {"compression": "none"}),
    "required": (required, {"compression": "none"}),
    "gzip": (required, {"compression": "gzip"}),
    "delta": (required, {"compression": "none", "use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}),
}
expected = {}
for name, (table, options) in files.items():
    path = data / f"{name}.parquet"
    pq.write_table(table, path, store_schema=False, **options)
    expected[name] = [{k: row[k] for k in ("text", "messages") if k in row} for row in pq.read_table(path).to_pylist()]
(data / "parquet.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n")
