#!/usr/bin/env bash
# Tests the schema and a running server with other projects' clients and tools. Prints one line per check, and
# their number at the end. Needs Node 20, npm, python3 with venv, and cargo. TOLLGATE is the path of the program.
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
# part NAME COMMAND: runs a part and counts its checks. A part that fails without a failed check counts as one.
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

# ok NAME COMMAND: a check that passes if the command succeeds.
ok() {
  "${@:2}" && echo "  ok: $1" || { echo "  FAILED: $1"; return 1; }
}

codegen() {
  ok "graphql-codegen generates" npx graphql-codegen --config codegen/codegen.ts --silent
  ok "tsc --strict accepts the types and their uses" npx tsc -p codegen
}

tada() {
  ok "gql.tada generates" npx gql.tada generate-output -c tada/tsconfig.json
  ok "gql.tada finds no problems" npx gql.tada check -c tada/tsconfig.json --fail-on-warn
  ok "tsc --strict accepts the types and their uses" npx tsc -p tada
}

relay() {
  ok "relay-compiler compiles" npx relay-compiler relay.config.json
}

ariadne() {
  ok "ariadne-codegen generates" "$folder/venv/bin/ariadne-codegen" --config ariadne/pyproject.toml
  PYTHONPATH=generated "$folder/venv/bin/python" -B ariadne/uses.py
}

cynic() {
  ok "cargo check accepts queries with cynic" \
    cargo check --quiet --locked --manifest-path cynic/Cargo.toml
}

typescript_example() (
  cd ../../examples/typescript
  npm ci --silent --no-audit --no-fund
  ok "generates" npm run --silent generate
  ok "compiles" npm run --silent build
  ok "is stopped by CREDIT_LIMIT_REACHED" stopped npm start --silent
)

python_example() (
  cd ../../examples/python
  ok "generates" "$folder/venv/bin/ariadne-codegen"
  ok "passes mypy --strict" \
    "$folder/venv/bin/mypy" --strict --follow-imports=silent --cache-dir="$folder/mypy" main.py
  ok "is stopped by CREDIT_LIMIT_REACHED" stopped "$folder/venv/bin/python" -B main.py
)

# stopped COMMAND: runs an example, whose third SMS must reach its limit of 1500 cents.
stopped() {
  "$@" >"$folder/output" || return 1
  cat "$folder/output"
  grep -q '^Message 4 is refused: CREDIT_LIMIT_REACHED' "$folder/output"
}

part "GraphQL over HTTP" node audit.mjs
part "graphql-transport-ws" node ws.mjs
part "Breaking changes" node breaking.mjs
part "Specification" node ../specification/generate.mjs --check

rm -rf generated
node sources.mjs
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --requirement requirements.txt
part "graphql-codegen" codegen
part "gql.tada" tada
part "relay-compiler" relay
part "ariadne-codegen" ariadne
part "cynic" cynic
part "Example in TypeScript" typescript_example
part "Example in Python" python_example
# These parts are last, because they use up the number of invalid keys that this address may try.
part "Refusals of large bodies, by Node" node refusals.mjs
sleep 10
part "Refusals of large bodies, by Python" python3 refusals.py

echo "$passed passed, $failed failed"
((failed == 0))
