// Uses GraphiQL as a person does, and checks that the browser reports no errors.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { chromium } from "playwright-core";

const { DEMO, PROFILE, TOLLGATE_EXPECT_SUBSCRIPTIONS } = process.env;
const { url, keys } = JSON.parse(readFileSync(DEMO, "utf8"));
const { host, origin } = new URL(url);
const TIMEOUT_MS = 20_000;
/** Maximum number of messages that are sent; the account can pay for more. */
const SENT_MAX = 10;

let passed = 0;
let failed = 0;
let skipped = 0;

async function check(what, run) {
  try {
    await run();
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
    // A request to another host fails, even if the test does not detect the request.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
browser.setDefaultTimeout(TIMEOUT_MS);
const page = await browser.newPage();

/** Errors and warnings of the page and the browser, including violations of the page's CSP. */
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

/** Waits until an editor contains the text. Its model is read, because only visible lines are in the DOM. */
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

/** Opens a tab and inserts a key into its headers. */
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

/** Runs the given operation of the tab: GraphiQL runs the one at the cursor. */
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

await check("without a key the page explains what to do and sends no request", async () => {
  await resultHas("Put an API key into");
  await headersHave('{"Authorization": "Bearer "}');
  assert.equal(page.url(), `${origin}/graphiql`);
  assert.equal(asked(), 0);
});

await page.getByLabel("Show Documentation Explorer").click();

await check("with a main account's key the docs show its mutations", async () => {
  await openTab("MainAccount", keys.main);
  const fields = await fieldsInDocs("Mutation");
  assert.ok(fields.includes("createSubAccount"), fields.join());
  assert.ok(!fields.includes("createTeam"), fields.join());
});

await check("the main account's query shows its sub-accounts", async () => {
  await run("query MainAccount");
  await resultHas('"totalCount": 3');
  await resultHas('"name": "Client ABC"');
});

await check("with a sub-account's key the docs show its mutations", async () => {
  await openTab("SubAccount", keys.clientAbc);
  await page.waitForFunction(() => {
    const types = document.querySelector(".graphiql-doc-explorer")?.textContent ?? "";
    return types.includes("SendMessagePayload") && !types.includes("CreateSubAccountPayload");
  });
  const fields = await fieldsInDocs("Mutation");
  assert.ok(fields.includes("sendMessage"), fields.join());
  assert.ok(!fields.includes("createSubAccount"), fields.join());
});

await check("the sub-account's query shows its totalSpent", async () => {
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

/** The HTTP status of a WebSocket handshake: 101 if the server supports subscriptions. */
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

/** Sends a message, which is charged to the account of the key. */
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
  await check("a subscription shows charges", async () => {
    await openTab("BalanceChanged", keys.clientAbc);
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await run("subscription BalanceChanged");
    // The page does not show when the subscription has begun, so more than one message may be needed.
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
  console.log(`skipped: a subscription: the WebSocket handshake has the status ${status}`);
}

await check("the browser stores no key", async () => {
  await page.reload();
  await headersHave('{"Authorization": "Bearer "}');
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
  assert.ok(kept.includes("SubAccount"), "the queries are kept");
  for (const key of Object.values(keys)) assert.ok(!kept.includes(key), kept);
});

await check("all requests go to the server", () => {
  const elsewhere = requests.filter(({ protocol, host: of }) => of !== host && protocol !== "data:");
  assert.deepEqual(elsewhere.map(String), []);
  assert.ok(requests.length > 20, `only ${requests.length} requests were seen`);
  assert.ok(asked() > 0);
});

await check("the browser reported no problem", () => assert.deepEqual(complaints, []));

await browser.close();
console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}`);
process.exit(failed === 0 ? 0 : 1);
