// Tests graphql-transport-ws against the demo, with the client graphql-ws and with raw frames. Expects the demo's
// price of 500 cents per SMS.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { check, finish } from "./check.mjs";

const { url, keys } = JSON.parse(readFileSync(process.env.TOLLGATE_DEMO, "utf8"));
const socketUrl = url.replace(/^http/, "ws");
const PROTOCOL = "graphql-transport-ws";
const WAIT = 10_000;
const PRICE = 500;

const within = (promise, what, wait = WAIT) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${wait} ms`)), wait);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** Sends a request over HTTP. */
async function ask(key, query, variables) {
  const response = await fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

const SEND = `mutation ($text: String!) {
  sendMessage(input: { to: "+12025550123", text: $text }) { message { id cost } errors { code } }
}`;

async function send(key, text = "Hello") {
  const { sendMessage } = await ask(key, SEND, { text });
  assert.deepEqual(sendMessage.errors, []);
  return sendMessage.message;
}

async function subAccount(name) {
  const data = await ask(
    keys.main,
    `mutation ($name: String!) {
      createSubAccount(input: { name: $name }) { account { id } apiKey { id } plainKey errors { code } }
    }`,
    { name },
  );
  assert.deepEqual(data.createSubAccount.errors, []);
  return data.createSubAccount;
}

/** A client that reports a lost connection instead of reconnecting. */
function connect(connectionParams, webSocketImpl = WebSocket) {
  return createClient({ url: socketUrl, webSocketImpl, connectionParams, retryAttempts: 0 });
}

const connectWith = (key) => connect({ authorization: `Bearer ${key}` });

/** The response to a query or a mutation. */
async function answer(client, query, variables) {
  const { value } = await within(client.iterate({ query, variables }).next(), query);
  assert.equal(value.errors, undefined, JSON.stringify(value.errors));
  return value.data;
}

/** Subscribes, and waits until the subscription has begun: the server processes a socket's messages in order. */
async function listen(client, query, variables) {
  const events = client.iterate({ query, variables });
  await answer(client, "{ viewer { role } }");
  return {
    next: async () => (await within(events.next(), query)).value.data,
    end: () => events.return(),
  };
}

/** A raw socket, with its received messages and its close code. */
async function open({ protocol = PROTOCOL, headers, key } = {}) {
  const socket = new WebSocket(socketUrl, protocol, { headers });
  const received = [];
  const waiting = [];
  socket.on("message", (data) => {
    const message = JSON.parse(data.toString());
    const next = waiting.shift();
    if (next) next(message);
    else received.push(message);
  });
  const closed = new Promise((resolve) => socket.on("close", (code) => resolve(code)));
  const raw = {
    say: (message) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
    binary: (bytes) => socket.send(bytes),
    hear: () =>
      within(received.length > 0 ? received.shift() : new Promise((next) => waiting.push(next)), "a message"),
    closed: (wait = WAIT) => within(closed, "the close", wait),
    close: () => socket.close(),
  };
  await within(
    new Promise((resolve, reject) => {
      socket.on("open", resolve);
      socket.on("error", reject);
    }),
    "the socket",
  );
  if (key) {
    raw.say({ type: "connection_init", payload: { authorization: `Bearer ${key}` } });
    assert.deepEqual(await raw.hear(), { type: "connection_ack" });
  }
  return raw;
}

const subscribe = (id, query) => ({ id, type: "subscribe", payload: { query } });
const BALANCE = "subscription { balanceChanged { balance totalSpent creditLimit isSubAccount } }";
const MESSAGES = "subscription { messageUpdated { id status text } }";

console.log("graphql-ws: authentication");
const ROLE = "{ viewer { role account { name } } }";
const ABC = { viewer: { role: "SUB_ACCOUNT", account: { name: "Client ABC" } } };
for (const [name, client] of [
  ["payload { authorization }", () => connectWith(keys.clientAbc)],
  ["payload { Authorization }", () => connect({ Authorization: `Bearer ${keys.clientAbc}` })],
  ["payload { apiKey }", () => connect({ apiKey: keys.clientAbc })],
  [
    "the upgrade's Authorization header",
    () => {
      class WithHeader extends WebSocket {
        constructor(address, protocols) {
          super(address, protocols, { headers: { authorization: `Bearer ${keys.clientAbc}` } });
        }
      }
      return connect(undefined, WithHeader);
    },
  ],
]) {
  await check(`connects with ${name}`, async () => {
    const opened = client();
    assert.deepEqual(await answer(opened, ROLE), ABC);
    await opened.dispose();
  });
}
await check("an invalid key in the upgrade's header is refused before the socket is open: 401", () =>
  assert.rejects(open({ headers: { authorization: "Bearer tg_live_wrong" } }), /401/),
);

console.log("graphql-ws: operations");
await check("balanceChanged: totalSpent and balance move by the price of a message sent by HTTP", async () => {
  const client = connectWith(keys.clientAbc);
  const balances = await listen(client, BALANCE);
  const { balance: before } = await ask(keys.clientAbc, "{ balance { balance totalSpent } }");
  await send(keys.clientAbc);
  const { balanceChanged: after } = await balances.next();
  assert.equal(after.totalSpent, before.totalSpent + PRICE);
  assert.equal(after.balance, before.balance - PRICE);
  assert.equal(after.isSubAccount, true);
  await balances.end();
  await client.dispose();
});
await check("messageUpdated: a message by its id until it is DELIVERED", async () => {
  const client = connectWith(keys.clientAbc);
  const all = await listen(client, MESSAGES);
  const { id } = await send(keys.clientAbc, "Until delivered");
  const one = await listen(client, "subscription ($id: ID!) { messageUpdated(id: $id) { id status } }", { id });
  const { message } = await ask(keys.clientAbc, "query ($id: ID!) { message(id: $id) { status } }", { id });
  for (const events of [all, one]) {
    // The message may have been delivered before the second subscription began.
    let status = events === one ? message.status : undefined;
    while (status !== "DELIVERED") {
      const { messageUpdated: told } = await events.next();
      // Earlier messages may still cause events.
      if (told.id !== id) continue;
      status = told.status;
      assert.ok(["QUEUED", "SENDING", "SENT", "DELIVERED"].includes(status), status);
    }
  }
  await client.dispose();
});
await check("a query and a mutation over the socket", async () => {
  const client = connectWith(keys.clientAbc);
  const { sendMessage } = await answer(client, SEND, { text: "Over the socket" });
  assert.deepEqual(sendMessage.errors, []);
  const { message } = await answer(client, "query ($id: ID!) { message(id: $id) { text cost } }", {
    id: sendMessage.message.id,
  });
  assert.deepEqual(message, { text: "Over the socket", cost: PRICE });
  await client.dispose();
});
await check("two subscriptions on one socket get events of the same message", async () => {
  const client = connectWith(keys.clientXyz);
  const [balances, messages] = [await listen(client, BALANCE), await listen(client, MESSAGES)];
  const { id } = await send(keys.clientXyz);
  assert.equal((await messages.next()).messageUpdated.id, id);
  assert.equal(typeof (await balances.next()).balanceChanged.totalSpent, "number");
  await client.dispose();
});
await check("a sub-account gets no events of another's messages, not even by id", async () => {
  const theirs = connectWith(keys.clientXyz);
  const all = await listen(theirs, MESSAGES);
  const { id } = await send(keys.clientAbc, "Not for XYZ");
  const named = await listen(theirs, "subscription ($id: ID!) { messageUpdated(id: $id) { id } }", { id });
  const mine = connectWith(keys.clientAbc);
  const own = await listen(mine, MESSAGES);
  const second = await send(keys.clientAbc, "Not for XYZ either");
  // When this event has arrived, an event for the first message would have arrived too.
  while ((await own.next()).messageUpdated.id !== second.id);
  let isNamedTold = false;
  named.next().then(() => (isNamedTold = true), () => {});
  const { id: last } = await send(keys.clientXyz, "For XYZ");
  let told;
  do {
    told = (await all.next()).messageUpdated;
    assert.notEqual(told.id, id);
    assert.notEqual(told.id, second.id);
  } while (told.id !== last || told.status !== "DELIVERED");
  assert.equal(isNamedTold, false);
  await Promise.all([theirs.dispose(), mine.dispose()]);
});
await check("accountUpdated: the main account sees a sub-account's spend", async () => {
  const client = connectWith(keys.main);
  const accounts = await listen(client, "subscription { accountUpdated { name totalSpent } }");
  const { balance } = await ask(keys.partnerCo, "{ balance { totalSpent } }");
  await send(keys.partnerCo);
  let told;
  // Other sub-accounts may still cause events.
  do told = (await accounts.next()).accountUpdated;
  while (told.name !== "Partner Co");
  assert.equal(told.totalSpent, balance.totalSpent + PRICE);
  await client.dispose();
});
await check("accountUpdated is closed to a sub-account's key: FORBIDDEN", async () => {
  const client = connectWith(keys.clientAbc);
  const events = client.iterate({ query: "subscription { accountUpdated { name } }" });
  await assert.rejects(within(events.next(), "the refusal"), ([error]) => error.extensions.code === "FORBIDDEN");
  await client.dispose();
});

console.log("Raw frames");
for (const [name, query, code] of [
  ["a document that cannot be parsed", "subscription {", "GRAPHQL_PARSE_FAILED"],
  ["an unknown field", "subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"],
]) {
  await check(`${name} gets one error message: ${code}`, async () => {
    const raw = await open({ key: keys.clientAbc });
    raw.say(subscribe("a", query));
    const { id, type, payload } = await raw.hear();
    assert.deepEqual([id, type, payload[0].extensions.code], ["a", "error", code]);
    // The operation has ended, and its id can be used again.
    raw.say(subscribe("a", "{ viewer { role } }"));
    assert.deepEqual(await raw.hear(), { id: "a", type: "next", payload: { data: { viewer: { role: "SUB_ACCOUNT" } } } });
    assert.deepEqual(await raw.hear(), { id: "a", type: "complete" });
    raw.close();
  });
}
await check("complete ends one subscription and leaves the other", async () => {
  const raw = await open({ key: keys.clientAbc });
  raw.say(subscribe("gone", MESSAGES));
  raw.say(subscribe("kept", MESSAGES));
  raw.say({ id: "gone", type: "complete" });
  raw.say({ type: "ping" });
  assert.deepEqual(await raw.hear(), { type: "pong" });
  const { id } = await send(keys.clientAbc, "For the one that is kept");
  let told;
  do {
    told = await raw.hear();
    assert.equal(told.id, "kept");
  } while (told.payload.data.messageUpdated.id !== id || told.payload.data.messageUpdated.status !== "DELIVERED");
  raw.close();
});
await check("ping is answered with pong, before and after init", async () => {
  const raw = await open();
  raw.say({ type: "ping" });
  assert.deepEqual(await raw.hear(), { type: "pong" });
  raw.say({ type: "connection_init", payload: { apiKey: keys.clientAbc } });
  assert.deepEqual(await raw.hear(), { type: "connection_ack" });
  raw.say({ type: "ping", payload: { at: 1 } });
  assert.equal((await raw.hear()).type, "pong");
  raw.close();
});
for (const [name, message] of [
  ["garbage", "{"],
  ["a message without a type", {}],
  ["a message of unknown type", { type: "start", id: "a", payload: { query: "{ viewer { role } }" } }],
  ["subscribe without an id", { type: "subscribe", payload: { query: "{ viewer { role } }" } }],
]) {
  await check(`${name}: 4400`, async () => {
    const raw = await open({ key: keys.clientAbc });
    raw.say(message);
    assert.equal(await raw.closed(), 4400);
  });
}
await check("a binary frame: 4400", async () => {
  const raw = await open({ key: keys.clientAbc });
  raw.binary(Buffer.from([0, 1]));
  assert.equal(await raw.closed(), 4400);
});
await check("subscribe before init: 4401", async () => {
  const raw = await open();
  raw.say(subscribe("a", MESSAGES));
  assert.equal(await raw.closed(), 4401);
});
for (const [name, payload] of [
  ["an invalid key", { authorization: "Bearer tg_live_wrong" }],
  ["no key", undefined],
]) {
  await check(`${name} in init: 4403`, async () => {
    const raw = await open();
    raw.say({ type: "connection_init", payload });
    assert.equal(await raw.closed(), 4403);
  });
}
await check("no init within 3 seconds: 4408", async () => {
  const raw = await open();
  const begun = Date.now();
  assert.equal(await raw.closed(6_000), 4408);
  assert.ok(Date.now() - begun > 2_500, "too early");
});
await check("a second init: 4429", async () => {
  const raw = await open({ key: keys.clientAbc });
  raw.say({ type: "connection_init", payload: { apiKey: keys.clientAbc } });
  assert.equal(await raw.closed(), 4429);
});
await check("an operation's id twice: 4409", async () => {
  const raw = await open({ key: keys.clientAbc });
  raw.say(subscribe("a", MESSAGES));
  raw.say(subscribe("a", BALANCE));
  assert.equal(await raw.closed(), 4409);
});
for (const protocol of ["graphql-ws", []]) {
  await check(`${protocol.length > 0 ? "an unknown subprotocol" : "no subprotocol"} is refused: 400`, () =>
    assert.rejects(open({ protocol }), /400/),
  );
}

console.log("Sockets with a key that becomes invalid");
for (const [name, end] of [
  ["its key is revoked", ({ apiKey }) => [`mutation ($id: ID!) { ended: revokeApiKey(id: $id) { errors { code } } }`, apiKey.id]],
  ["its account is suspended", ({ account }) => [`mutation ($id: ID!) { ended: suspendSubAccount(account: { id: $id }) { errors { code } } }`, account.id]],
]) {
  await check(`${name}: closed within two seconds with 4403`, async () => {
    const made = await subAccount(`Ends: ${name}`);
    const raw = await open({ key: made.plainKey });
    raw.say(subscribe("a", MESSAGES));
    const [query, id] = end(made);
    const { ended } = await ask(keys.main, query, { id });
    assert.deepEqual(ended.errors, []);
    assert.equal(await raw.closed(2_000), 4403);
    // The key cannot be used again.
    const again = await open();
    again.say({ type: "connection_init", payload: { apiKey: made.plainKey } });
    assert.equal(await again.closed(), 4403);
  });
}
finish();
