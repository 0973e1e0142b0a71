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
import { authorizationIn, isWhole } from "./key.js";
import { DEFAULT_HEADERS, DEFAULT_TABS } from "./tabs.js";

// Without the history: it would keep the headers, and so keys, in the browser's storage.
const PLUGINS = [explorerPlugin()];
const TYPING_PAUSE_MS = 300;

/** The schema depends on the key, so it is fetched anew when the tab has another key. */
function SchemaOfKey() {
  const { introspect } = useGraphiQLActions();
  const responseEditor = useGraphiQL((state) => state.responseEditor);
  const [headers] = useHeadersEditorState();
  const authorization = authorizationIn(headers);
  useEffect(() => {
    if (!isWhole(authorization)) return;
    const pause = setTimeout(() => {
      // GraphiQL leaves it there although there is a key now.
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
    // A key opens an account: it must not outlive the page in the browser's storage.
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>Tollgate</GraphiQL.Logo>
    <SchemaOfKey />
  </GraphiQL>,
);
