// The form of a key, as the server makes them: its kind, 30 random characters and 6 of a checksum.
const WHOLE = /^bearer +tg_(live|test|live_sub|test_sub|operator)_[0-9A-Za-z]{36}$/i;

/** The Authorization header among these, however its name is written. */
export function authorizationOf(headers) {
  const entries = Object.entries(headers ?? {});
  return entries.find(([name]) => name.toLowerCase() === "authorization")?.[1];
}

/** The Authorization header in the text of the headers' editor. */
export function authorizationIn(text) {
  try {
    return authorizationOf(JSON.parse(text));
  } catch {
    // Not JSON while it is being written.
    return undefined;
  }
}

/** Whether a header has all of a key, and so is worth asking the server about. */
export function isWhole(authorization) {
  return WHOLE.test(authorization);
}
