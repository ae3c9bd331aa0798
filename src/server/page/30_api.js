// Talking to the server: one streamed chat request, and JSON.

async function getJson(path, signal) {
  const response = await fetch(path, { signal, cache: "no-store" });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error ? body.error.message : "HTTP " + response.status);
  return body;
}

function samplingFields(settings) {
  const fields = {};
  for (const key of ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"]) {
    if (settings[key] !== null && settings[key] !== "" && settings[key] !== undefined) fields[key] = settings[key];
  }
  return fields;
}

// Streams one answer. `onDelta({content, reasoning})` is called as text comes in. Resolves to
// {finish, usage}; rejects with an Error whose message is for people (AbortError when stopped).
async function streamChat(messages, settings, signal, onDelta) {
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ messages, stream: true, stream_options: { include_usage: true }, ...samplingFields(settings) }),
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  });
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body && body.error ? body.error.message : "The server answered with status " + response.status + ".");
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const result = { finish: null, usage: null };
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    buffer += value;
    for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
      const data = buffer.slice(0, end).split("\n").filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trim()).join("");
      if (!data) continue;
      if (data === "[DONE]") return result;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      if (event.usage) result.usage = event.usage;
      const choice = event.choices && event.choices[0];
      if (!choice) continue;
      if (choice.finish_reason) result.finish = choice.finish_reason;
      const delta = choice.delta || {};
      if (delta.content || delta.reasoning_content) onDelta({ content: delta.content || "", reasoning: delta.reasoning_content || "" });
    }
  }
  throw new Error("The connection ended before the answer was complete.");
}
