// The audit of GraphQL over HTTP by the makers of graphql-http: every check must be ok.
import { auditServer } from "graphql-http";

const { TOLLGATE_URL: url, TOLLGATE_KEY: key } = process.env;
const fetchFn = (address, init = {}) =>
  fetch(address, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } });

const results = await auditServer({ url, fetchFn });
const counts = { ok: 0, notice: 0, warn: 0, error: 0 };
for (const { id, name, status, reason } of results) {
  counts[status] += 1;
  if (status !== "ok") console.error(`${status} ${id} ${name}: ${reason}`);
}
console.log(`GraphQL over HTTP: ${results.length} checks, ${JSON.stringify(counts)}`);
if (results.length !== 61 || counts.ok !== 61) process.exit(1);
