#!/usr/bin/env bash
# Tests GraphiQL in a real browser against the demo. Needs Node 20, npm and Debian's package `chromium`.
#
# TOLLGATE                       the program to run
# TOLLGATE_EXPECT_SUBSCRIPTIONS  1: fails if subscriptions do not work, instead of skipping them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
tollgate=${TOLLGATE:-../../target/debug/tollgate}

npm ci --silent --no-audit --no-fund --ignore-scripts
folder=$(mktemp -d)
server=
stop() {
  if [[ -n $server ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap stop EXIT

"$tollgate" demo --json --listen 127.0.0.1:0 --data "$folder/data" >"$folder/demo.json" 2>"$folder/log" &
server=$!
for _ in {1..300}; do
  [[ -s $folder/demo.json ]] && break
  kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
  sleep 0.1
done

DEMO=$folder/demo.json PROFILE=$folder/profile node graphiql.mjs
