#!/usr/bin/env bash
# An agency: one team with many clients. A credit limit stops only the client that reached it.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

say "The agency has a team with 100 cents. An SMS to the US costs 0.83 cents by the default price list."
start_with_team "Agency" 100

say "Five clients get a sub-account each, with a limit of 2 cents."
clients=()
for number in 1 2 3 4 5; do
  create "Client $number" "client-$number" "creditLimit: 2"
  clients+=("$key")
done

say "Client 1 runs a campaign. Three messages reach the limit of 2 cents; the fourth is refused."
for number in 1 2 3; do
  send "${clients[0]}" +12025550111 "Sale, day $number"
  accepted "Client 1" 0.83
done
send "${clients[0]}" +12025550111 "Sale, day 4"
refused "Client 1" CREDIT_LIMIT_REACHED

say "The other four send as before."
for number in 2 3 4 5; do
  send "${clients[number - 1]}" +12025550112 "News"
  accepted "Client $number" 0.83
done

say "The agency sees who is blocked, and who spent most."
ask "$main_key" '{ subAccounts(filter: { isBlocked: true }) {
  totalCount nodes { name totalSpent creditLimit blockedBy }
} }'
expect "blocked clients" data.subAccounts \
  '{"totalCount":1,"nodes":[{"name":"Client 1","totalSpent":2.49,"creditLimit":2,"blockedBy":["CREDIT_LIMIT"]}]}'
ask "$main_key" '{ subAccounts(orderBy: { by: TOTAL_SPENT }, first: 1) { nodes { externalId } } }'
expect "who spent most" data.subAccounts.nodes.0.externalId client-1

say "It raises the limit of Client 1 to 5 cents. The next message is accepted."
ask "$main_key" 'mutation {
  updateSubAccount(account: { externalId: "client-1" }, input: { creditLimit: 5 }) {
    account { remainingCredit isBlocked } errors { code }
  }
}'
expect "Client 1 now" data.updateSubAccount.account '{"remainingCredit":2.51,"isBlocked":false}'
send "${clients[0]}" +12025550111 "Sale, day 4"
accepted "Client 1" 0.83

say "A client cannot raise its own limit: only the main account's keys can."
ask "${clients[0]}" 'mutation {
  updateSubAccount(account: { externalId: "client-1" }, input: { creditLimit: null }) { errors { code } }
}'
expect "Client 1 is refused" errors.0.extensions.code FORBIDDEN

say "Eight messages of 0.83 cents were paid from the agency's balance."
ask "$main_key" '{ balance { balance isSubAccount totalSpent creditLimit } }'
expect "what the agency's key sees" data.balance \
  '{"balance":93.36,"isSubAccount":false,"totalSpent":null,"creditLimit":null}'

finish
