"""Writes prompts for `honelm router label --raw --compare first-word`: passages of a text that end before a word, which is the answer.

    python3 cloze_prompts.py NAME=TEXT [NAME=TEXT ...] [--passages N] > prompts.jsonl

Each passage of 130 words gives ten prompts that share their beginning: its first 40, 50, ... 130 words without the one that follows.
They are a group, so that folds do not divide a passage. N passages are taken from each text, evenly spread. Deterministic.
"""
import json
import re
import sys

FIRST, STEP, LAST = 40, 10, 130


def prompts(name, text, most):
    words = [match.span() for match in re.finditer(r"\S+", text)]
    count = (len(words) - 1) // (LAST + 1)
    chosen = range(count) if most >= count else [i * count // most for i in range(most)]
    for passage in chosen:
        own = words[passage * (LAST + 1):(passage + 1) * (LAST + 1)]
        for length in range(FIRST, LAST + 1, STEP):
            answer = re.search(r"[^\W_]+(?:['’][^\W_]+)*", text[slice(*own[length])])
            if answer:
                prompt = text[own[0][0]:own[length - 1][1]]
                yield {"prompt": prompt, "answer": answer[0], "group": f"{name}-{passage}"}


def main():
    arguments = sys.argv[1:]
    most = 1 << 30
    if "--passages" in arguments:
        at = arguments.index("--passages")
        most = int(arguments[at + 1])
        del arguments[at:at + 2]
    for argument in arguments:
        name, path = argument.split("=", 1)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for row in prompts(name, text, most):
            print(json.dumps(row, ensure_ascii=False))


main()
