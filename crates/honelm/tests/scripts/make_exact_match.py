"""Writes tests/data/exact-match.jsonl: cases with the verdicts of lm-evaluation-harness.

    pip install numpy && pip install --no-deps lm_eval==0.4.13
    python crates/honelm/tests/scripts/make_exact_match.py

The functions are taken out of the package's sources, since importing it needs torch.
"""

import ast
import importlib.util
import json
import pathlib
import re
import string

import numpy as np

PACKAGE = pathlib.Path(importlib.util.find_spec("lm_eval").origin).parent
OUT = pathlib.Path(__file__).parents[1] / "data" / "exact-match.jsonl"


def definition(file, name, scope):
    """Runs the definition of a function or class, without its decorators and base classes."""
    for node in ast.parse((PACKAGE / file).read_text()).body:
        if getattr(node, "name", None) == name:
            node.decorator_list, node.bases = [], []
            exec("from __future__ import annotations\n" + ast.unparse(node), scope)
            return scope[name]
    raise LookupError(name)


exact_match = definition("api/metrics.py", "exact_match_hf_evaluate", {"np": np, "re": re, "string": string})
RegexFilter = definition("filters/extraction.py", "RegexFilter", {"re": re})
WhitespaceFilter = definition("filters/extraction.py", "WhitespaceFilter", {"re": re})


def verdict(generated, answers, regex=None, take="first", remove=(), ignore=(False, False, False)):
    responses = [[generated]]
    if regex is not None:
        select = -1 if take == "last" else 0
        responses = RegexFilter(regex_pattern=regex, group_select=select).apply(responses, [{}])
    (response,) = WhitespaceFilter.apply(None, responses, [{}])[0]
    # As process_results of lm_eval/api/task.py: an answer counts if it matches one of several targets.
    found = [
        exact_match([response], [answer], list(remove) or None, *ignore)["exact_match"] for answer in answers
    ]
    return bool(max(found) == 1.0)


CASES = [
    dict(generated=" Paris", answers=["Paris"]),
    dict(generated="Paris.", answers=["Paris"]),
    dict(generated="Paris.", answers=["Paris"], ignore=[False, True, False]),
    dict(generated="paris", answers=["Paris"]),
    dict(generated="PARIS", answers=["Paris"], ignore=[True, False, False]),
    dict(generated="the city of Paris", answers=["Paris", "the city of Paris"]),
    dict(generated="", answers=["Paris"]),
    dict(generated="...", answers=["!"], ignore=[False, True, False]),
    dict(generated="room 12", answers=["room 13"], ignore=[False, False, True]),
    dict(generated="room 12", answers=["room 13"]),
    dict(generated="It is 3. #### 1,234", answers=["1234"], regex=r"#### (\-?[0-9\.\,]+)", remove=[","]),
    dict(generated="It is 3. #### 1,234", answers=["1234"], regex=r"#### (\-?[0-9\.\,]+)"),
    dict(generated="no number", answers=["[invalid]"], regex=r"#### ([0-9]+)"),
    dict(generated="no number", answers=["7"], regex=r"#### ([0-9]+)"),
    dict(generated="first 4, then 9 eggs", answers=["4"], regex=r"[0-9]+"),
    dict(generated="first 4, then 9 eggs", answers=["9"], regex=r"[0-9]+", take="last"),
    dict(generated="costs $12.50 or 8", answers=["8"], regex=r"(-?[$0-9.,]{2,})|(-?[0-9]+)", take="last"),
    dict(generated="costs $12.50 or 8", answers=["12.50"], regex=r"(-?[$0-9.,]{2,})|(-?[0-9]+)", remove=[r"\$"]),
    dict(generated="ab", answers=[""], regex=r"a(x)?b"),
    dict(generated="ab", answers=["[invalid]"], regex=r"a(x)?b(y)?"),
    dict(generated="The answer is  yes  .", answers=["yes"], regex=r"answer is(.*)\."),
    dict(generated="The answer is \n no", answers=["no"], regex=r"(?s)answer is(.*)"),
    dict(generated="Yes, it is.", answers=["yes"], regex=r"(?i)yes|no", ignore=[True, False, False]),
    dict(generated="a1b2", answers=["AB"], ignore=[True, False, True]),
    dict(generated="don't", answers=["dont"], ignore=[False, True, False]),
    dict(generated="«oui»", answers=["oui"], ignore=[False, True, False]),
    dict(generated="STRASSE Σ", answers=["strasse σ"], ignore=[True, False, False]),
    dict(generated="reason #### 5", answers=["5"], remove=[r"(?s).*#### "]),
    dict(generated="5.", answers=["5"], remove=[r"\.$"]),
    dict(generated="x5", answers=["5"], regex=r"(?<=x)[0-9]"),
    dict(generated="\u00a0Paris\u2003", answers=["Paris"]),
]

lines = [json.dumps({**case, "right": verdict(**case)}, ensure_ascii=False) + "\n" for case in CASES]
OUT.write_text("".join(lines))
print(f"{OUT}: {len(lines)} cases, {sum(json.loads(line)['right'] for line in lines)} right")
