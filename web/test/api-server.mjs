// A server with OpenAI's chat completions, of another origin, that misbehaves when told to.
import { createServer } from "node:http";

/**
 * Starts it. `behave`: `key` that it asks for, `cors`, `say` (the text of the next answers, or a function of the last message), `cut` (the
 * connection breaks after this many pieces), `html` (it is no API), `pace` (milliseconds between pieces). `asked` has the bodies.
 */
export async function apiServer() {
  const behave = { key: null, cors: true, say: ({ content }) => content, cut: null, html: false, pace: 0, context: null };
  const asked = [];
  const server = createServer(async (request, response) => {
    const headers = behave.cors
      ? { "Access-Control-Allow-Origin": request.headers.origin ?? "*", "Access-Control-Allow-Headers": "authorization, content-type", "Access-Control-Allow-Methods": "GET, POST" }
      : {};
    if (request.method === "OPTIONS") return response.writeHead(204, headers).end();
    if (behave.html) return response.writeHead(200, { ...headers, "content-type": "text/html" }).end("<!doctype html><title>Welcome</title>");
    if (behave.key !== null && request.headers.authorization !== `Bearer ${behave.key}`) {
      const error = { message: "the key is wrong", code: "invalid_api_key" };
      return response.writeHead(401, { ...headers, "content-type": "application/json" }).end(JSON.stringify({ error }));
    }
    if (request.url === "/v1/models") {
      const model = { id: "large", object: "model", ...(behave.context === null ? {} : { context_length: behave.context }) };
      return response.writeHead(200, { ...headers, "content-type": "application/json" }).end(JSON.stringify({ data: [model] }));
    }
    let text = "";
    for await (const part of request) text += part;
    const body = JSON.parse(text);
    asked.push(body);
    response.writeHead(200, { ...headers, "content-type": "text/event-stream" });
    const send = (choice, more = {}) => response.write(`data: ${JSON.stringify({ model: "large", choices: choice ? [{ index: 0, ...choice }] : [], ...more })}\n\n`);
    const answer = typeof behave.say === "function" ? behave.say(body.messages.at(-1)) : behave.say;
    // Pieces end anywhere, also within a name.
    const pieces = answer.match(/[^]{1,5}/gu) ?? [];
    for (const [i, content] of pieces.entries()) {
      if (i === behave.cut) {
        // What was written must leave before the connection ends.
        await new Promise((resolve) => setTimeout(resolve, 50));
        return response.destroy();
      }
      send({ delta: { content }, finish_reason: null });
      if (behave.pace > 0) await new Promise((resolve) => setTimeout(resolve, behave.pace));
    }
    send({ delta: {}, finish_reason: "stop" });
    send(null, { usage: { prompt_tokens: 9, completion_tokens: pieces.length } });
    response.end("data: [DONE]\n\n");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${port}/v1`, host: `127.0.0.1:${port}`, behave, asked, stop };
}
