// The format of API keys: a prefix, 30 random characters and a checksum of 6 characters.
const COMPLETE = /^bearer +tg_(live|test|live_sub|test_sub|operator)_[0-9A-Za-z]{36}$/i;

/** Returns the Authorization header from these headers. The names of headers are not case-sensitive. */
export function authorizationOf(headers) {
  const entries = Object.entries(headers ?? {});
  return entries.find(([name]) => name.toLowerCase() === "authorization")?.[1];
}

/** Returns the Authorization header from the text of the headers editor. */
export function authorizationIn(text) {
  try {
    return authorizationOf(JSON.parse(text));
  } catch {
    // The user is still typing, so the text is not valid JSON.
    return undefined;
  }
}

/** Returns whether a header contains a complete key. Without a complete key, a request would be refused. */
export function hasCompleteKey(authorization) {
  return COMPLETE.test(authorization);
}
