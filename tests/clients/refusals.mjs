// Sends requests with bodies of several sizes with Node's fetch. The server refuses each request. Every response must
// arrive, so the server must read the rest of the body before it closes the connection.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { check, finish } from "./check.mjs";

const { url, keys } = JSON.parse(readFileSync(process.env.TOLLGATE_DEMO, "utf8"));
const TRIES = 8;
const SIZES = { "200 KB": 200_000, "1 MB": 1_000_000, "8 MB": 8_000_000 };
const at = (path) => new URL(path, url);
const json = { "content-type": "application/json" };
const main = { authorization: `Bearer ${keys.main}` };
const wrong = { authorization: "Bearer tg_live_wrong" };

for (const [name, path, method, headers, status, least = 0] of [
  ["a body that is too large", "/graphql", "POST", { ...json, ...main }, 413, 300_000],
  ["no key", "/graphql", "POST", json, 401],
  ["an invalid key", "/graphql", "POST", { ...json, ...wrong }, 401],
  ["another method", "/graphql", "PUT", { ...json, ...main }, 405],
  ["another method of GraphiQL", "/graphiql", "POST", json, 405],
  ["another method of the health", "/healthz", "POST", json, 405],
  ["no media type that is known", "/graphql", "POST", { ...json, ...main, accept: "text/html" }, 406],
  ["another media type", "/graphql", "POST", { "content-type": "text/plain", ...main }, 415],
  ["nothing at the path", "/elsewhere", "POST", json, 404],
  ["an inbound message that is too large", "/sandbox/inbound", "POST", { ...json, ...main }, 413],
  ["an inbound message without a key", "/sandbox/inbound", "POST", json, 401],
]) {
  for (const [size, bytes] of Object.entries(SIZES)) {
    if (bytes < least) continue;
    await check(`${name}, ${size}: ${status}, ${TRIES} times`, async () => {
      const body = "x".repeat(bytes);
      for (let tried = 0; tried < TRIES; tried += 1) {
        const response = await fetch(at(path), { method, headers, body });
        assert.equal(response.status, status);
        await response.text();
      }
    });
  }
}

await check("a body that is streamed and too large: 413", async () => {
  for (let tried = 0; tried < TRIES; tried += 1) {
    const body = new Blob(["x".repeat(8_000_000)]).stream();
    const headers = { ...json, ...main };
    const response = await fetch(url, { method: "POST", headers, body, duplex: "half" });
    assert.equal(response.status, 413);
    await response.text();
  }
});
await check("a body that stops for four seconds: 503", async () => {
  const late = async function* () {
    yield new TextEncoder().encode("{");
    await new Promise((resolve) => setTimeout(resolve, 4_300));
    yield new TextEncoder().encode("x".repeat(1_000_000));
  };
  const body = ReadableStream.from(late());
  const response = await fetch(url, { method: "POST", headers: { ...json, ...main }, body, duplex: "half" });
  assert.equal(response.status, 503);
  await response.text();
});
// This check is last, because it uses up the number of invalid keys that this address may try.
await check("too many invalid keys, 8 MB: 429", async () => {
  const ask = async (body) => {
    const response = await fetch(url, { method: "POST", headers: { ...json, ...wrong }, body });
    await response.text();
    return response.status;
  };
  while ((await ask("{}")) !== 429);
  const body = "x".repeat(8_000_000);
  let refused = 0;
  for (let tried = 0; tried < TRIES; tried += 1) {
    const status = await ask(body);
    assert.ok(status === 429 || status === 401, `${status}`);
    if (status === 429) refused += 1;
    while ((await ask("{}")) !== 429);
  }
  assert.ok(refused > 0, "none was refused");
});
finish();
