"""Converts RouteLLM's evaluation data (lm-sys/RouteLLM, routellm/evals/mmlu/responses/*.csv, Apache-2.0) to labelled traffic.

Usage: routellm_traffic.py FOLDER > mmlu.jsonl

A row has a prompt and whether the weak and the strong model answered it rightly. The group is the subject, from the file's name.
"""

import csv
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("mmlu_*.csv")):
    with path.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for prompt, weak, strong in rows:
            line = {"prompt": prompt, "local": weak == "True", "cloud": strong == "True", "group": path.stem[len("mmlu_") :]}
            print(json.dumps(line, ensure_ascii=False))
