#!/usr/bin/env bash
# A company with departments: each sends with its own keys, and all share one balance.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

say "The company has a team with 500 cents and three departments without limits."
start_with_team "Company" 500
create "Support" support ""
support=$key
create "Marketing" marketing ""
marketing=$key
create "Logistics" logistics ""
logistics=$key

say "Logistics has two systems that send, so it gets a second key."
ask "$main_key" 'mutation {
  createApiKey(account: { externalId: "logistics" }, input: { name: "Route planner" }) {
    plainKey errors { code }
  }
}'
expect "errors of creating the key" data.createApiKey.errors '[]'
planner=$(got data.createApiKey.plainKey)

say "The departments send on their channels, and the head office with the main key."
send "$support" +12025550121 "We looked into your question."
accepted "Support" 0.83
send "$support" +442071838750 "We looked into your question."
accepted "Support" 4.2
for number in 1 2 3; do
  send "$marketing" "reader$number@example.com" "What is new this month." 'subject: "News"'
  accepted "Marketing" 0.04
done
send "$logistics" +12025550122 "Your parcel comes today." "channel: WHATSAPP"
accepted "Logistics" 1.4
send "$planner" +12025550123 "Your parcel comes tomorrow." "channel: WHATSAPP"
accepted "Logistics, by its second key," 1.4
send "$main_key" +12025550124 "The office is closed on Friday."
accepted "The head office" 0.83

say "Every key sees the same balance: 500 cents less the 8.78 that were spent."
for sender in "$main_key" "$support" "$marketing" "$logistics" "$planner"; do
  ask "$sender" '{ balance { balance } }'
  expect "balance" data.balance.balance 491.22
done

say "Usage by account: the main account is one of the lines, and both keys of Logistics count together."
ask "$main_key" '{ team { usage(groupBy: [ACCOUNT]) {
  totals { messages spent } buckets { account { name } figures { messages spent } }
} } }'
expect "totals" data.team.usage.totals '{"messages":8,"spent":8.78}'
by_account=$(python3 -c '
import json, sys
for bucket in json.loads(sys.argv[1])["data"]["team"]["usage"]["buckets"]:
    print(bucket["account"]["name"], bucket["figures"]["messages"], bucket["figures"]["spent"], sep=",")
' "$answer" | sort | paste -s -d ' ' -)
same "lines" "$by_account" "Company,1,0.83 Logistics,2,2.8 Marketing,3,0.12 Support,2,5.03"

say "Usage by country, for Support alone."
ask "$support" '{ account { usage(groupBy: [COUNTRY]) { buckets { country figures { spent } } } } }'
expect "lines" data.account.usage.buckets \
  '[{"country":"GB","figures":{"spent":4.2}},{"country":"US","figures":{"spent":0.83}}]'

finish
