// The audit suite of graphql-http for the GraphQL over HTTP specification. Every check must pass.
import { auditServer } from "graphql-http";
import { check, finish } from "./check.mjs";

const { TOLLGATE_URL: url, TOLLGATE_KEY: key } = process.env;
const fetchFn = (address, init = {}) =>
  fetch(address, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } });

const results = await auditServer({ url, fetchFn });
for (const { id, name, status, reason } of results) {
  await check(`${id} ${name}`, () => {
    if (status !== "ok") throw new Error(`${status}: ${reason}`);
  });
}
// Fewer checks would mean that the audit stopped early.
await check("the audit has 61 checks", () => {
  if (results.length !== 61) throw new Error(`it has ${results.length}`);
});
finish();
