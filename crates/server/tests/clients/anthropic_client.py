"""Every endpoint of Anthropic's API through the `anthropic` package. Arguments: the address of the server and its API key."""

import sys

import anthropic
from anthropic import Anthropic

client = Anthropic(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0, timeout=60)
MODEL = "pocket"
# The package has no parameter for it.
GREEDY = {"temperature": 0}
QUESTION = [{"role": "user", "content": "Tell me a story."}]
SYSTEM = [{"type": "text", "text": "You are kind.", "cache_control": {"type": "ephemeral"}}]
TOOL = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def messages():
    whole = client.messages.create(model=MODEL, system=SYSTEM, messages=QUESTION, max_tokens=12, extra_body=GREEDY)
    assert whole.type == "message" and whole.role == "assistant" and whole.content[0].type == "text"
    assert whole.stop_reason in ("max_tokens", "end_turn") and whole.usage.output_tokens <= 12
    prompt = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    counted = client.messages.count_tokens(model=MODEL, system=SYSTEM, messages=QUESTION)
    assert counted.input_tokens == prompt
    types = []
    with client.messages.stream(model=MODEL, system="You are kind.", messages=QUESTION, max_tokens=12, extra_body=GREEDY) as events:
        types = [event.type for event in events]
        last = events.get_final_message()
    assert types[0] == "message_start" and types[-1] == "message_stop", types
    assert last.content[0].text == whole.content[0].text and last.stop_reason == whole.stop_reason
    assert last.usage.cache_read_input_tokens > 0
    raw = [event.type for event in client.messages.create(model=MODEL, messages=QUESTION, max_tokens=3, stream=True)]
    assert raw[:2] == ["message_start", "content_block_start"] and raw[-2:] == ["message_delta", "message_stop"], raw
    stopped = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=60, extra_body=GREEDY, stop_sequences=[" "])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " ")


def tools():
    asked = dict(model=MODEL, messages=QUESTION, tools=[TOOL], tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=80)
    whole = client.messages.create(**asked, extra_body=GREEDY)
    assert whole.stop_reason == "tool_use", whole
    call = next(part for part in whole.content if part.type == "tool_use")
    assert call.name == "weather" and call.input["city"] in ("Rome", "Oslo")
    with client.messages.stream(**asked, extra_body=GREEDY) as events:
        last = events.get_final_message()
    assert next(part for part in last.content if part.type == "tool_use").input == call.input
    history = QUESTION + [
        {"role": "assistant", "content": [part.model_dump(exclude_none=True) for part in whole.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}]},
    ]
    after = client.messages.create(model=MODEL, messages=history, tools=[TOOL], tool_choice={"type": "none"}, max_tokens=4)
    assert after.usage.output_tokens >= 1


def models():
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).display_name == MODEL


def errors():
    try:
        client.messages.create(model="no-such-model", messages=QUESTION, max_tokens=1)
        raise AssertionError("there is no such model")
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    for broken in (
        [{"role": "user", "content": [image]}],
        [{"role": "user", "content": "word " * 5000}],
        [{"role": "robot", "content": "Hello"}],
        [],
    ):
        try:
            client.messages.create(model=MODEL, messages=broken, max_tokens=4)
            raise AssertionError("a broken request was answered")
        except anthropic.BadRequestError as error:
            assert error.body["type"] == "error" and error.body["error"]["type"] == "invalid_request_error"
            assert error.request_id
    try:
        Anthropic(base_url=sys.argv[1], api_key="wrong", max_retries=0).models.list()
        raise AssertionError("a wrong key was accepted")
    except anthropic.AuthenticationError:
        pass


for part in (messages, tools, models, errors):
    part()
    print("ok", part.__name__)
