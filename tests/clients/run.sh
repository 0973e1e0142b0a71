#!/usr/bin/env bash
# What others' tools find of the schema and of a running server. One line a check; the last line counts them.
# Needs Node 20, npm, python3 with venv, and cargo. TOLLGATE names the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
tollgate=${TOLLGATE:-../../target/debug/tollgate}

npm ci --silent --no-audit --no-fund
folder=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf "$folder"' EXIT

"$tollgate" demo --json --listen 127.0.0.1:0 --data "$folder/data" >"$folder/demo.json" 2>"$folder/log" &
server=$!
for _ in {1..100}; do
  [[ -s $folder/demo.json ]] && break
  kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
  sleep 0.1
done
read -r TOLLGATE_URL TOLLGATE_KEY < <(
  node -p 'const {url, keys} = JSON.parse(fs.readFileSync(process.argv[1])); `${url} ${keys.main}`' \
    "$folder/demo.json"
)
export TOLLGATE_URL TOLLGATE_KEY TOLLGATE_DEMO=$folder/demo.json

passed=0
failed=0
# part NAME COMMAND: runs a part and counts its checks. One that breaks off without naming a check is one.
part() {
  echo "== $1"
  local code=0 failures
  "${@:2}" >"$folder/part" 2>&1 || code=$?
  cat "$folder/part"
  passed=$((passed + $(grep -c '^  ok: ' "$folder/part" || true)))
  failures=$(grep -c '^  FAILED: ' "$folder/part" || true)
  if ((code != 0 && failures == 0)); then
    echo "  FAILED: $1 ended with $code"
    failures=1
  fi
  failed=$((failed + failures))
}

part "GraphQL over HTTP" node audit.mjs
part "graphql-transport-ws" node ws.mjs

echo "$passed passed, $failed failed"
((failed == 0))
