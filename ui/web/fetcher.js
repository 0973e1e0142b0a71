import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { createClient } from "graphql-ws";

import { authorizationOf, isWhole } from "./key.js";

const URL_OF_HTTP = "/graphql";
const URL_OF_SOCKET = new URL(URL_OF_HTTP, location.href);
URL_OF_SOCKET.protocol = location.protocol === "https:" ? "wss:" : "ws:";

/** What is shown instead of a schema until there is a key. */
export const WITHOUT_KEY = `The docs and the completion show what your key may do.
Put an API key into "Headers", below the query: {"Authorization": "Bearer tg_live_…"}`;

/** Asks the server with the headers of the tab. */
export function fetcher(request, options) {
  const authorization = authorizationOf(options?.headers);
  if (request.operationName === "IntrospectionQuery" && !isWhole(authorization)) {
    // The server would refuse it. GraphiQL shows text that it gets instead of a schema.
    return WITHOUT_KEY;
  }
  // Browsers let no page set headers of a socket, so the key travels in its first message. A client
  // connects when something subscribes and closes when that ends: one for each costs nothing else.
  const wsClient = createClient({
    url: URL_OF_SOCKET.href,
    connectionParams: { authorization },
  });
  const send = createGraphiQLFetcher({
    url: URL_OF_HTTP,
    wsClient,
    // The server sends no answer in parts.
    enableIncrementalDelivery: false,
  });
  return send(request, options);
}
