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

// The history plugin is left out, because it stores headers in the browser, and headers contain keys.
const PLUGINS = [explorerPlugin()];
const TYPING_PAUSE_MS = 300;

/** Fetches the schema again when the key changes, because the schema depends on the key. */
function SchemaOfKey() {
  const { introspect } = useGraphiQLActions();
  const responseEditor = useGraphiQL((state) => state.responseEditor);
  const [headers] = useHeadersEditorState();
  const authorization = authorizationIn(headers);
  useEffect(() => {
    if (!hasCompleteKey(authorization)) return;
    const pause = setTimeout(() => {
      // The message must be removed here, because GraphiQL does not remove it.
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
