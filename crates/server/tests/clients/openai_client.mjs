// Every endpoint of OpenAI's API through the `openai` package of Node. Arguments: the address of the server and its API key.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [base, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
const model = "pocket";
const messages = [
  { role: "system", content: "You are kind." },
  { role: "user", content: "Tell me a story." },
];
const parameters = {
  type: "object",
  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
  required: ["city"],
  additionalProperties: false,
};

const parts = {
  async models() {
    const names = (await client.models.list()).data.map((one) => one.id);
    assert.ok(names.includes(model), `${names}`);
  },
  async chat() {
    const asked = { model, messages, max_tokens: 12, temperature: 0 };
    const whole = await client.chat.completions.create(asked);
    let streamed = "";
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      streamed += chunk.choices[0]?.delta?.content ?? "";
    }
    assert.equal(streamed, whole.choices[0].message.content);
    const runner = client.chat.completions.stream(asked);
    assert.equal((await runner.finalChatCompletion()).choices[0].message.content, streamed);
  },
  async tools() {
    const tools = [{ type: "function", function: { name: "weather", parameters } }];
    const whole = await client.chat.completions.create({ model, messages, tools, tool_choice: "required", max_tokens: 80 });
    assert.ok(["Rome", "Oslo"].includes(JSON.parse(whole.choices[0].message.tool_calls[0].function.arguments).city));
  },
  async responses() {
    const asked = { model, instructions: "You are kind.", input: "Tell me a story.", max_output_tokens: 12, temperature: 0 };
    const whole = await client.responses.create(asked);
    const stream = client.responses.stream(asked);
    let [streamed, number] = ["", 0];
    for await (const event of stream) {
      assert.equal(event.sequence_number, number++);
      if (event.type === "response.output_text.delta") streamed += event.delta;
    }
    assert.equal(streamed, whole.output_text);
    assert.equal((await stream.finalResponse()).output_text, streamed);
    const next = await client.responses.create({ ...asked, input: "And then?", previous_response_id: whole.id });
    assert.equal(next.previous_response_id, whole.id);
  },
  async embeddings() {
    const { data } = await client.embeddings.create({ model, input: ["A cat sat.", "A dog ran."] });
    assert.equal(data.length, 2);
    assert.ok(Math.abs(data[0].embedding.reduce((sum, v) => sum + v * v, 0) - 1) < 1e-4);
  },
  async errors() {
    const missing = client.chat.completions.create({ model: "no-such-model", messages });
    await assert.rejects(missing, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
    const negative = client.responses.create({ model, input: "Hello", max_output_tokens: -1 });
    await assert.rejects(negative, (error) => error instanceof OpenAI.BadRequestError);
  },
};

for (const [name, part] of Object.entries(parts)) {
  await part();
  console.log("ok", name);
}
