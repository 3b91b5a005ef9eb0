"""Judges random walks over masks with the validator jsonschema.

    HONELM_WALKS=50 HONELM_WALKS_TO=walks.jsonl cargo test --workspace --test grammar -- walks::
    judge_walks.py walks.jsonl

A line has the number of a schema in ../data/schemas.json and a text. Needs jsonschema (made with 4.26).
"""

import collections
import json
import pathlib
import sys

import jsonschema

schemas = json.loads((pathlib.Path(__file__).parent.parent / "data/schemas.json").read_text())
judges = [jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()) for schema in schemas]
valid, total = collections.Counter(), collections.Counter()
for line in open(sys.argv[1], encoding="utf-8"):
    walk = json.loads(line)
    total[walk["schema"]] += 1
    try:
        error = next(judges[walk["schema"]].iter_errors(json.loads(walk["text"])), None)
    except json.JSONDecodeError as problem:
        error = problem
    valid[walk["schema"]] += error is None
    if error is not None:
        print(f"schema {walk['schema']}: {walk['text']}: {error}")
print(f"{valid.total()} of {total.total()} texts under {len(total)} schemas are valid")
sys.exit(valid != total)
