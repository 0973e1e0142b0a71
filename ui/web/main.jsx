import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import "./main.css";

import { explorerPlugin } from "@graphiql/plugin-explorer";
import { useGraphiQL, useGraphiQLActions, useHeadersEditorState } from "@graphiql/react";
import { GraphiQL } from "graphiql";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";

import { fetcher, WITHOUT_KEY } from "./fetcher.js";
import { authorizationIn, hasCompleteKey } from "./key.js";
import { DEFAULT_HEADERS, DEFAULT_TABS } from "./tabs.js";

// Without the history plugin, which stores headers, and so keys, in the browser.
const PLUGINS = [explorerPlugin()];
const TYPING_PAUSE_MS = 300;

/** Fetches the schema again when the key changes, because the schema depends on it. */
function SchemaOfKey() {
  const { introspect } = useGraphiQLActions();
  const responseEditor = useGraphiQL((state) => state.responseEditor);
  const [headers] = useHeadersEditorState();
  const authorization = authorizationIn(headers);
  useEffect(() => {
    if (!hasCompleteKey(authorization)) return;
    const pause = setTimeout(() => {
      // GraphiQL itself does not remove the message.
      if (responseEditor?.getValue() === WITHOUT_KEY) responseEditor.setValue("");
      introspect();
    }, TYPING_PAUSE_MS);
    return () => clearTimeout(pause);
  }, [authorization, introspect, responseEditor]);
}

createRoot(document.getElementById("graphiql")).render(
  <GraphiQL
    fetcher={fetcher}
    plugins={PLUGINS}
    defaultTabs={DEFAULT_TABS}
    defaultHeaders={DEFAULT_HEADERS}
    defaultEditorToolsVisibility="headers"
    // The browser must not store API keys.
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>Tollgate</GraphiQL.Logo>
    <SchemaOfKey />
  </GraphiQL>,
);
