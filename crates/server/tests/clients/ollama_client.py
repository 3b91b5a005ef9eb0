"""Every endpoint of Ollama's API through the `ollama` package. Arguments: the address of the server and its API key."""

import json
import math
import sys

import ollama

client = ollama.Client(host=sys.argv[1], headers={"authorization": "Bearer " + sys.argv[2]}, timeout=60)
MODEL = "pocket"
QUESTION = [{"role": "user", "content": "Tell me a story."}]
SHORT = {"num_predict": 12, "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: The city.
    """
    return "sunny in " + city


def models():
    listed = {model.model: model for model in client.list().models}
    assert listed[MODEL].size > 0 and listed[MODEL].details.family == "llama"
    shown = client.show(MODEL)
    assert "completion" in shown.capabilities and shown.modelinfo["llama.context_length"] == 1024
    assert shown.details.parameter_size and shown.template
    assert client.show(MODEL + ":latest").details == shown.details


def chat():
    whole = client.chat(MODEL, QUESTION, options=SHORT)
    assert whole.done and whole.done_reason in ("stop", "length") and whole.message.content
    assert whole.eval_count <= 12 and whole.prompt_eval_count > 0 and whole.total_duration >= whole.eval_duration > 0
    lines = list(client.chat(MODEL, QUESTION, options=SHORT, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    shaped = client.chat(MODEL, QUESTION, options={"num_predict": 60}, format=SCHEMA)
    assert json.loads(shaped.message.content)["city"] in ("Rome", "Oslo")
    # The model may call the tool or not; both must be understood, and so must what follows.
    answer = client.chat(MODEL, QUESTION, tools=[weather], options={"num_predict": 4})
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    history = QUESTION + [
        {"role": "assistant", "content": answer.message.content or "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": weather("Rome")},
    ]
    assert client.chat(MODEL, history, tools=[weather], options={"num_predict": 4}).done


def generate():
    whole = client.generate(MODEL, "Once upon a time", raw=True, options=SHORT)
    assert whole.response and whole.done
    streamed = "".join(line.response for line in client.generate(MODEL, "Once upon a time", raw=True, options=SHORT, stream=True))
    assert streamed == whole.response
    assert client.generate(MODEL, "Hello", system="You are kind.", options=SHORT).response is not None
    assert json.loads(client.generate(MODEL, "Hello", format=SCHEMA, options={"num_predict": 60}).response)
    assert client.generate(MODEL, keep_alive="10m").done_reason == "load"
    running = client.ps().models
    assert [model.model for model in running] == [MODEL] and running[0].size > 0 and running[0].context_length == 1024
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert client.ps().models == []


def embed():
    both = client.embed(MODEL, ["A cat sat.", "A dog ran."])
    assert len(both.embeddings) == 2 and math.isclose(sum(v * v for v in both.embeddings[0]), 1, rel_tol=1e-4)
    assert len(client.embed(MODEL, "A cat sat.", dimensions=8).embeddings[0]) == 8
    assert len(client.embeddings(MODEL, "A cat sat.").embedding) == len(both.embeddings[0])


def errors():
    for broken, status in (
        (lambda: client.chat("no-such-model", QUESTION), 404),
        (lambda: client.show("no-such-model"), 404),
        (lambda: client.chat(MODEL, [{"role": "user", "content": "What is this?", "images": [b"abcd"]}]), 400),
        (lambda: client.generate(MODEL, "Hello", suffix="!"), 400),
        (lambda: client.generate(MODEL, "Hello", options={"num_predict": -3}), 400),
        (lambda: client.generate(MODEL, "Hello", format="xml"), 400),
        (lambda: client.chat(MODEL, QUESTION, think=True), 400),
        (lambda: client.embed(MODEL, "word " * 5000, truncate=False), 400),
        (lambda: client.pull("not a name"), 400),
    ):
        try:
            broken()
            raise AssertionError("a broken request was answered")
        except ollama.ResponseError as error:
            assert error.status_code == status and error.error, error
        except ValueError:
            # The package refuses some values itself.
            pass
    assert client.pull(MODEL).status == "success"
    assert [line.status for line in client.pull(MODEL, stream=True)] == ["success"]


for part in (models, chat, generate, embed, errors):
    part()
    print("ok", part.__name__)
