import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { createClient } from "graphql-ws";

import { authorizationOf, hasCompleteKey } from "./key.js";

const URL_OF_HTTP = "/graphql";
const URL_OF_SOCKET = new URL(URL_OF_HTTP, location.href);
URL_OF_SOCKET.protocol = location.protocol === "https:" ? "wss:" : "ws:";

/** Shown instead of a schema until the tab has a key. */
export const WITHOUT_KEY = `The docs and the completion show what your key may do.
Put an API key into "Headers", below the query: {"Authorization": "Bearer tg_live_…"}`;

/** Sends a request with the headers of the tab. */
export function fetcher(request, options) {
  const authorization = authorizationOf(options?.headers);
  if (request.operationName === "IntrospectionQuery" && !hasCompleteKey(authorization)) {
    // The server would refuse the request. GraphiQL shows this string instead of the schema.
    return WITHOUT_KEY;
  }
  // A page cannot set the headers of a WebSocket, so the key is sent in the first message. A new
  // client per request costs nothing, because a client only connects while it has a subscription.
  const wsClient = createClient({
    url: URL_OF_SOCKET.href,
    connectionParams: { authorization },
  });
  const send = createGraphiQLFetcher({
    url: URL_OF_HTTP,
    wsClient,
    // The server does not support incremental delivery.
    enableIncrementalDelivery: false,
  });
  return send(request, options);
}
