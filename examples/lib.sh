# Functions for the examples; not run by itself. Each example starts its own server on a free port, with a
# new SQLite file in a temporary folder, sends requests over HTTP, and checks every response.
#
# TOLLGATE  the path of the program; `cargo run` in this repository if not set
# PORT      the port of the server; a free one if not set
#
# Needs bash, curl and python3.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -n ${TOLLGATE:-} ]]; then
  tollgate=("$TOLLGATE")
else
  tollgate=(cargo run --quiet --manifest-path "$repository/Cargo.toml" --)
fi
example=$(basename "$0" .sh)
folder=$(mktemp -d)
url=
server=
answer=
status=

# The example's own database is used even if the environment names another one.
unset DATABASE_URL_FILE
export DATABASE_URL="sqlite://$folder/tollgate.db?mode=rwc"

stop() {
  local code=$?
  trap - EXIT
  if [[ -n $server ]]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if ((code != 0)); then
    echo "$example: FAILED" >&2
    if [[ -s $folder/server.log ]]; then
      echo "The server's log:" >&2
      cat "$folder/server.log" >&2
    fi
  fi
  rm -rf "$folder"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() {
  echo "$*"
}

fail() {
  echo "  WRONG: $*" >&2
  exit 1
}

# same WHAT ACTUAL EXPECTED: ends the example with an error unless the values are equal.
same() {
  [[ $2 == "$3" ]] || fail "$1: expected $3, got $2"
  echo "  ok: $1: $3"
}

# start_with_team NAME CENTS: creates a team with this balance and starts a server. Sets main_key and team_id.
start_with_team() {
  answer=$("${tollgate[@]}" team create --name "$1" --top-up "$2" --json)
  main_key=$(got plainKey)
  team_id=$(got teamId)

  local port=${PORT:-$(free_port)}
  url=http://127.0.0.1:$port
  "${tollgate[@]}" serve --sandbox --listen "127.0.0.1:$port" --log warn \
    >"$folder/server.log" 2>&1 &
  server=$!
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if curl --silent --fail --noproxy '*' --output "$folder/ready" "$url/readyz"; then
      return
    fi
    kill -0 "$server" 2>/dev/null || fail "the server did not start"
    sleep 0.1
  done
  fail "the server was not ready within 30 seconds"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ask KEY QUERY: sends a GraphQL request. Sets answer to the JSON and status to the HTTP status.
ask() {
  local query=${2//\"/\\\"}
  query=${query//$'\n'/ }
  answer=$(curl --silent --show-error --noproxy '*' --max-time 30 --write-out '\n%{http_code}' \
    --header "Authorization: Bearer $1" --header 'Content-Type: application/json' \
    --data "{\"query\": \"$query\"}" "$url/graphql") || fail "the server does not answer"
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
}

# got PATH: prints the value at a path of the answer, such as data.balance.totalSpent or
# errors.0.extensions.code. Strings are printed without quotation marks, other values as JSON.
got() {
  python3 -c '
import json, sys
answer, path = sys.argv[1:]
found = json.loads(answer)
try:
    for step in path.split("."):
        found = found[int(step) if isinstance(found, list) else step]
except (IndexError, KeyError, TypeError, ValueError):
    sys.exit(f"  WRONG: {path} is not in the answer: {answer}")
print(found if isinstance(found, str) else json.dumps(found, separators=(",", ":"), ensure_ascii=False))
' "$answer" "$1"
}

# expect WHAT PATH EXPECTED: compares the value at a path of the answer.
expect() {
  local found
  found=$(got "$2")
  same "$1" "$found" "$3"
}

# create NAME EXTERNAL_ID SETTINGS: creates a sub-account. SETTINGS are further fields of the input. Sets key.
create() {
  ask "$main_key" "mutation {
    createSubAccount(input: { name: \"$1\", externalId: \"$2\" $3 }) { plainKey errors { code } }
  }"
  expect "errors of creating $1" data.createSubAccount.errors '[]'
  key=$(got data.createSubAccount.plainKey)
}

# send KEY TO TEXT [MORE]: sends a message. MORE are further fields of the input.
send() {
  ask "$1" "mutation {
    sendMessage(input: { to: \"$2\", text: \"$3\" ${4:-} }) { message { cost } errors { code } }
  }"
}

# accepted WHO COST: the last send was accepted and charged this many cents.
accepted() {
  expect "$1 sends, cost" data.sendMessage.message.cost "$2"
}

# refused WHO CODE: the last send was refused with this code.
refused() {
  expect "$1 is refused" data.sendMessage.errors.0.code "$2"
}

# delivered KEY COUNT: waits until this many messages of the key's account are delivered.
delivered() {
  local tries count=
  for ((tries = 0; tries < 100; tries++)); do
    ask "$1" '{ messages(filter: { status: [DELIVERED] }, first: 0) { totalCount } }'
    count=$(got data.messages.totalCount)
    if [[ $count == "$2" ]]; then
      return
    fi
    sleep 0.2
  done
  fail "$2 messages should have been delivered, but $count were"
}

# finish: runs the reconciliation, which must find no drift.
finish() {
  say "The audit recomputes every balance, total and usage figure from the ledger."
  answer=$("${tollgate[@]}" audit --json) || fail "the reconciliation found drift: $answer"
  expect "the audit is clean" clean true
  echo "$example: passed"
}
