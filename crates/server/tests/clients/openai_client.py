"""Every endpoint of OpenAI's API through the `openai` package. Arguments: the address of the server and its API key."""

import base64
import json
import math
import struct
import sys

import openai
from openai import OpenAI

client = OpenAI(base_url=sys.argv[1] + "/v1", api_key=sys.argv[2], max_retries=0, timeout=60)
MODEL = "pocket"
QUESTION = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Tell me a story."}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def models():
    names = [model.id for model in client.models.list()]
    assert MODEL in names, names
    assert client.models.retrieve(MODEL).id == MODEL


def chat():
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=12, seed=7, logprobs=True, top_logprobs=2)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and whole.usage.completion_tokens <= 12
    assert len(choice.logprobs.content) >= 1 and len(choice.logprobs.content[0].top_logprobs) == 2
    streamed, usage = "", None
    for chunk in client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=12, seed=7, stream=True, stream_options={"include_usage": True}
    ):
        streamed += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert streamed == choice.message.content and usage.prompt_tokens == whole.usage.prompt_tokens
    both = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4, n=2, seed=1, temperature=1)
    assert [one.index for one in both.choices] == [0, 1]
    stopped = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=40, temperature=0, stop=[" "])
    assert " " not in stopped.choices[0].message.content and stopped.choices[0].finish_reason == "stop"


def chat_tools():
    tools = [{"type": "function", "function": {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER}}]
    asked = dict(model=MODEL, messages=QUESTION, tools=tools, tool_choice="required", max_tokens=80, seed=3, parallel_tool_calls=False)
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.finish_reason == "tool_calls", whole
    call = whole.message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "weather" and arguments["city"] in ("Rome", "Oslo") and 1 <= arguments["days"] <= 9
    name, streamed = None, ""
    for chunk in client.chat.completions.create(**asked, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or []:
            name = delta.function.name or name
            streamed += delta.function.arguments or ""
    assert name == "weather" and streamed == call.function.arguments
    history = QUESTION + [
        whole.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    after = client.chat.completions.create(model=MODEL, messages=history, tools=tools, tool_choice="none", max_tokens=4)
    assert after.choices[0].message.content is not None


def chat_schema():
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER, "strict": True}}
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, response_format=form, max_tokens=80, seed=5)
    assert json.loads(answer.choices[0].message.content)["city"] in ("Rome", "Oslo")


def completions():
    echoed = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=4, temperature=0, echo=True, logprobs=1)
    assert echoed.choices[0].text.startswith("Once upon a time") and len(echoed.choices[0].logprobs.tokens) > 4
    text = "".join(
        chunk.choices[0].text
        for chunk in client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=4, temperature=0, stream=True)
        if chunk.choices
    )
    assert echoed.choices[0].text == "Once upon a time" + text


def responses():
    whole = client.responses.create(model=MODEL, instructions="You are kind.", input="Tell me a story.", max_output_tokens=16, temperature=0)
    assert whole.status in ("completed", "incomplete") and whole.output_text and whole.usage.output_tokens <= 16
    if whole.status == "incomplete":
        assert whole.incomplete_details.reason == "max_output_tokens"
    types, streamed, last = [], "", None
    with client.responses.stream(
        model=MODEL, instructions="You are kind.", input="Tell me a story.", max_output_tokens=16, temperature=0
    ) as events:
        for number, event in enumerate(events):
            assert event.sequence_number == number
            types.append(event.type)
            if event.type == "response.output_text.delta":
                streamed += event.delta
            if event.type in ("response.completed", "response.incomplete"):
                last = event.response
    opening = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    assert types[:4] == opening, types
    closing = ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response." + whole.status]
    assert types[-4:] == closing, types
    assert streamed == whole.output_text == last.output_text

    next_one = client.responses.create(model=MODEL, input="And then?", previous_response_id=whole.id, max_output_tokens=8)
    assert next_one.usage.input_tokens > whole.usage.input_tokens and next_one.previous_response_id == whole.id
    assert client.responses.retrieve(next_one.id).output_text == next_one.output_text
    items = client.responses.input_items.list(next_one.id).data
    assert len(items) == 1 and items[0].role == "user"
    client.responses.delete(next_one.id)
    for gone in (next_one.id, "resp_none"):
        try:
            client.responses.retrieve(gone)
            raise AssertionError("the response was deleted")
        except openai.NotFoundError:
            pass
    unstored = client.responses.create(model=MODEL, input="Hello", store=False, max_output_tokens=2)
    try:
        client.responses.create(model=MODEL, input="Hello", previous_response_id=unstored.id)
        raise AssertionError("the response was not stored")
    except openai.BadRequestError as error:
        assert error.code == "previous_response_not_found" and error.param == "previous_response_id"
    counted = client.responses.input_tokens.count(model=MODEL, instructions="You are kind.", input="Tell me a story.")
    assert counted.input_tokens == whole.usage.input_tokens


def responses_tools():
    tools = [
        {"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": WEATHER, "strict": True},
        {"type": "web_search"},
        {"type": "custom", "name": "apply_patch", "format": {"type": "text"}},
    ]
    asked = dict(model=MODEL, input=QUESTION, tools=tools, tool_choice="required", max_output_tokens=80, parallel_tool_calls=False)
    whole = client.responses.create(**asked, temperature=0)
    call = next(item for item in whole.output if item.type == "function_call")
    assert call.name == "weather" and json.loads(call.arguments)["city"] in ("Rome", "Oslo")
    types, streamed = [], ""
    for event in client.responses.create(**asked, temperature=0, stream=True):
        types.append(event.type)
        if event.type == "response.function_call_arguments.delta":
            streamed += event.delta
    assert streamed == call.arguments and "response.function_call_arguments.done" in types, types
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = client.responses.create(model=MODEL, input=[output], previous_response_id=whole.id, max_output_tokens=8)
    assert 1 <= after.usage.output_tokens <= 8
    form = {"format": {"type": "json_schema", "name": "weather", "schema": WEATHER, "strict": True}}
    shaped = client.responses.create(model=MODEL, input="The weather?", text=form, max_output_tokens=80)
    assert json.loads(shaped.output_text)["days"] >= 1


def embeddings():
    texts = ["A cat sat.", "A dog ran."]
    floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    encoded = client.embeddings.create(model=MODEL, input=texts, encoding_format="base64")
    for number, one in zip(floats.data, encoded.data):
        values = struct.unpack(f"<{len(number.embedding)}f", base64.b64decode(one.embedding))
        assert math.isclose(sum(v * v for v in values), 1, rel_tol=1e-5)
        assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(values, number.embedding))
    assert len(client.embeddings.create(model=MODEL, input=[1, 20, 300], dimensions=8).data[0].embedding) == 8
    assert floats.usage.prompt_tokens > 4


def errors():
    try:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
        raise AssertionError("there is no such model")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for broken in (
        lambda: client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [image]}]),
        lambda: client.responses.create(model=MODEL, input=[{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        lambda: client.responses.create(model=MODEL, input="word " * 5000),
        lambda: client.embeddings.create(model=MODEL, input="a", dimensions=100000),
        lambda: client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=-1),
    ):
        try:
            broken()
            raise AssertionError("a broken request was answered")
        except openai.BadRequestError as error:
            assert error.message and error.type == "invalid_request_error"
    try:
        OpenAI(base_url=sys.argv[1] + "/v1", api_key="wrong", max_retries=0).models.list()
        raise AssertionError("a wrong key was accepted")
    except openai.AuthenticationError:
        pass


for part in (models, chat, chat_tools, chat_schema, completions, responses, responses_tools, embeddings, errors):
    part()
    print("ok", part.__name__)
