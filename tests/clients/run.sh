#!/usr/bin/env bash
# What others' tools find of a running server. Needs Node 20 and npm; TOLLGATE names the program.
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
export TOLLGATE_URL TOLLGATE_KEY

node audit.mjs
