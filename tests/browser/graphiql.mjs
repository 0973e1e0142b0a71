// What a person does with GraphiQL, and what the browser has to say about it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { chromium } from "playwright-core";

const { DEMO, PROFILE, TOLLGATE_EXPECT_SUBSCRIPTIONS } = process.env;
const { url, keys } = JSON.parse(readFileSync(DEMO, "utf8"));
const { host, origin } = new URL(url);
const PATIENCE_MS = 20_000;
/** What the account of the key may be charged before it meets its limit. */
const SENT_MAX = 10;

let passed = 0;
let failed = 0;
let skipped = 0;

async function check(what, look) {
  try {
    await look();
    passed += 1;
    console.log(`ok: ${what}`);
  } catch (error) {
    failed += 1;
    console.error(`FAILED: ${what}: ${error.message}`);
  }
}

const browser = await chromium.launchPersistentContext(PROFILE, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1400, height: 900 },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Whatever escapes the look at the page's requests still finds nobody.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
browser.setDefaultTimeout(PATIENCE_MS);
const page = await browser.newPage();

/** Errors and warnings of the page and of the browser, which also tells what the page's policy forbade. */
const complaints = [];
const requests = [];
const workers = [];
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(error.message));
page.on("worker", (worker) => workers.push(worker.url()));
browser.on("request", (request) => requests.push(new URL(request.url())));
page.on("websocket", (socket) => requests.push(new URL(socket.url())));
const asked = () => requests.filter(({ pathname }) => pathname === "/graphql").length;

/** Waits until the pane of an editor has a text, as the editor knows it: it shows only some lines. */
function paneHas(pane, text) {
  return page.waitForFunction(
    ([pane, text]) => {
      const models = globalThis.__MONACO?.editor.getModels() ?? [];
      const model = models.find(({ uri }) => uri.path.endsWith(pane));
      return model?.getValue().replaceAll(/\s+/g, " ").includes(text);
    },
    [pane, text],
  );
}
const resultHas = (text) => paneHas("response.json", text);
const headersHave = (text) => paneHas("request-headers.json", text);

/** Opens a tab and puts a key where its headers have room for one. */
async function openTab(name, key) {
  await page.getByRole("tab", { name }).click();
  await headersHave('"Bearer "');
  await page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .view-lines").click();
  await page.keyboard.press("Control+End");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  const schema = page.waitForResponse((response) => response.url() === url);
  await page.keyboard.insertText(key);
  await schema;
}

/** Runs the first operation of the tab: the one where the cursor stands. */
async function run(operation) {
  await page.locator(".graphiql-query-editor .view-line", { hasText: operation }).first().click();
  await page.keyboard.press("Control+Enter");
}

const docs = page.locator(".graphiql-doc-explorer");

/** The fields of a type in the docs pane. */
async function fieldsInDocs(type) {
  await docs.getByText(type, { exact: true }).first().click();
  await docs.locator(".graphiql-doc-explorer-title", { hasText: type }).waitFor();
  await docs.locator(".graphiql-doc-explorer-field-name").first().waitFor();
  const names = await docs.locator(".graphiql-doc-explorer-field-name").allTextContents();
  await docs.getByLabel(/^Go back to/).click();
  return names;
}

await page.goto(`${origin}/`);

await check("without a key the page says what to do and asks nothing", async () => {
  await resultHas("Put an API key into");
  await headersHave('{"Authorization": "Bearer "}');
  assert.equal(page.url(), `${origin}/graphiql`);
  assert.equal(asked(), 0);
});

await page.getByLabel("Show Documentation Explorer").click();

await check("a main key brings the docs of a main account", async () => {
  await openTab("MainAccount", keys.main);
  const fields = await fieldsInDocs("Mutation");
  assert.ok(fields.includes("createSubAccount"), fields.join());
  assert.ok(!fields.includes("createTeam"), fields.join());
});

await check("its query shows its sub-accounts", async () => {
  await run("query MainAccount");
  await resultHas('"totalCount": 3');
  await resultHas('"name": "Client ABC"');
});

await check("a sub-account's key brings the docs of a sub-account", async () => {
  await openTab("SubAccount", keys.clientAbc);
  await page.waitForFunction(() => {
    const types = document.querySelector(".graphiql-doc-explorer")?.textContent ?? "";
    return types.includes("SendMessagePayload") && !types.includes("CreateSubAccountPayload");
  });
  const fields = await fieldsInDocs("Mutation");
  assert.ok(fields.includes("sendMessage"), fields.join());
  assert.ok(!fields.includes("createSubAccount"), fields.join());
});

await check("its query shows what it spent", async () => {
  await run("query SubAccount");
  await resultHas('"totalSpent": 4500');
});

await check("the button fetches the schema of the tab's key again", async () => {
  const schema = page.waitForResponse((response) => response.url() === url);
  await page.getByLabel("Re-fetch GraphQL schema").click();
  assert.equal((await schema).request().headers().authorization, `Bearer ${keys.clientAbc}`);
});

await check("the explorer shows the fields of the schema", async () => {
  await page.getByLabel("Show GraphiQL Explorer").click();
  await page.locator(".graphiql-explorer-root").getByText("messageQuote").first().waitFor();
});

await check("the editors' workers run", () => {
  for (const name of ["editor", "graphql", "json"]) {
    assert.ok(workers.some((worker) => worker.includes(`/${name}.worker-`)), workers.join());
  }
});

/** The status with which the server answers a WebSocket's opening: 101 where it has subscriptions. */
function statusOfUpgrade() {
  const headers = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-key": Buffer.alloc(16).toString("base64"),
    "sec-websocket-protocol": "graphql-transport-ws",
    "sec-websocket-version": "13",
  };
  return new Promise((resolve, reject) => {
    const request = get(url, { headers });
    request.on("error", reject);
    request.on("response", (response) => resolve(response.resume().statusCode));
    request.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve(response.statusCode);
    });
  });
}

/** Sends a message that is charged to the account of the key. */
async function send(key) {
  const query = 'mutation { sendMessage(input: { to: "+12025550123", text: "Hi" }) { errors { code } } }';
  const response = await fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ query }),
  });
  assert.deepEqual((await response.json()).data.sendMessage.errors, []);
}

const status = await statusOfUpgrade();
if (status === 101 || TOLLGATE_EXPECT_SUBSCRIPTIONS === "1") {
  await check("a subscription shows what is charged while it runs", async () => {
    await openTab("BalanceChanged", keys.clientAbc);
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await run("subscription BalanceChanged");
    // Nothing tells when the server has begun to watch, so more than one message may be needed.
    const event = resultHas('"totalSpent": ');
    for (let sent = 0; sent < SENT_MAX; sent += 1) {
      await send(keys.clientAbc);
      const pause = new Promise((resolve) => setTimeout(resolve, 1_000));
      if (await Promise.race([event.then(() => true), pause])) break;
    }
    await event;
    assert.deepEqual(sockets, [url.replace("http", "ws")]);
  });
} else {
  skipped += 1;
  console.log(`skipped: a subscription: the server answers its opening with ${status}`);
}

await check("no key stays in the browser when the page is left", async () => {
  await page.reload();
  await headersHave('{"Authorization": "Bearer "}');
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
  assert.ok(kept.includes("SubAccount"), "the queries are kept");
  for (const key of Object.values(keys)) assert.ok(!kept.includes(key), kept);
});

await check("no request left the host", () => {
  const elsewhere = requests.filter(({ protocol, host: of }) => of !== host && protocol !== "data:");
  assert.deepEqual(elsewhere.map(String), []);
  assert.ok(requests.length > 20, `only ${requests.length} requests were seen`);
  assert.ok(asked() > 0);
});

await check("the browser complained of nothing", () => assert.deepEqual(complaints, []));

await browser.close();
console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}`);
process.exit(failed === 0 ? 0 : 1);
