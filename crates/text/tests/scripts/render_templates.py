"""Renders published chat templates with transformers and Jinja2, and writes a table of the results.

    render_templates.py TEMPLATES              writes ../data/templates.tsv
    render_templates.py TEMPLATES NAME TALK    prints one rendering, to compare with the output of the test

TEMPLATES is a folder of *.jinja. A line of the table has the template, the conversation (of ../data/conversations.json),
the outcome (`text`, `raised` by raise_exception, or `error`), and a detail: the text's length in bytes with its 64-bit
FNV-1a hash, the message raised, or Jinja2's error. Made with transformers 5.23 and Jinja2 3.1.6.
"""

import datetime
import json
import pathlib
import sys

import jinja2
from transformers.utils import chat_template_utils

DATA = pathlib.Path(__file__).parent.parent / "data"


class Now(datetime.datetime):
    """A clock with a fixed time."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 2, 29, 12, 34, 56)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def render(source, talk):
    variables = {key: value for key, value in talk.items() if key != "messages"}
    rendered, _ = chat_template_utils.render_jinja_template(
        [talk["messages"]], chat_template=source, bos_token="<s>", eos_token="</s>", **variables
    )
    return rendered[0]


def outcome(source, talk):
    try:
        text = render(source, talk)
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:
            return "raised", str(error.message)
        return "error", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    data = text.encode()
    return "text", f"{len(data)} {fnv1a(data):016x}"


def main():
    chat_template_utils.datetime = Now
    folder = pathlib.Path(sys.argv[1])
    talks = json.loads((DATA / "conversations.json").read_text())
    if len(sys.argv) == 4:
        source = (folder / f"{sys.argv[2]}.jinja").read_text()
        sys.stdout.write(render(source, talks[sys.argv[3]]))
        return
    with (DATA / "templates.tsv").open("w") as table:
        for path in sorted(folder.glob("*.jinja")):
            for name, talk in talks.items():
                kind, what = outcome(path.read_text(), talk)
                table.write("\t".join([path.stem, name, kind, json.dumps(what)[1:-1]]) + "\n")


main()
