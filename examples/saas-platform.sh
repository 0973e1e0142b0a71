#!/usr/bin/env bash
# A SaaS platform: every customer has its own key and limit, and is billed by usage.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

say "The platform has a team with 1000 cents, and its own price list."
start_with_team "Booking platform" 1000
started_on=$(date -u +%F)
cat >"$folder/prices.csv" <<'CSV'
channel,prefix,country,price_cents
SMS,1,US,5
EMAIL,,,0.04
CSV
"${tollgate[@]}" price import "$folder/prices.csv" --commit | tail -n 2

say "Two customers get a sub-account each: Bakery may spend 12 cents, Clinic 50."
create "Bakery" bakery "creditLimit: 12"
bakery=$key
create "Clinic" clinic "creditLimit: 50"
clinic=$key

say "Bakery sends. Its limit is reached with the third message, so the fourth is refused."
for number in 1 2 3; do
  send "$bakery" +12025550101 "Your bread is ready, no. $number"
  accepted "Bakery" 5
done
send "$bakery" +12025550101 "Your bread is ready, no. 4"
refused "Bakery" CREDIT_LIMIT_REACHED
ask "$bakery" '{ balance { isSubAccount totalSpent creditLimit } }'
expect "what Bakery's key sees" data.balance '{"isSubAccount":true,"totalSpent":15,"creditLimit":12}'

say "Clinic is not affected: it has its own limit."
for number in 1 2 3 4; do
  send "$clinic" +12025550102 "Your appointment, no. $number"
  accepted "Clinic" 5
done
for number in 1 2; do
  send "$clinic" patient@example.com "Your results, no. $number" 'subject: "Results"'
  accepted "Clinic" 0.04
done
ask "$clinic" '{ balance { balance totalSpent creditLimit } }'
expect "what Clinic's key sees" data.balance '{"balance":964.92,"totalSpent":20.08,"creditLimit":50}'

say "Each key sees only the messages of its own account."
delivered "$bakery" 3
delivered "$clinic" 6
ask "$bakery" '{ messages { totalCount } }'
expect "messages of Bakery" data.messages.totalCount 3
ask "$clinic" '{ messages { totalCount } }'
expect "messages of Clinic" data.messages.totalCount 6

say "The platform bills its customers from the usage export."
today=$(date -u +%F)
export_csv=$("${tollgate[@]}" usage export --team "$team_id" --from "$started_on" --to "$today")
bill=$(python3 -c '
import csv, sys
columns = "external_id messages segments delivered failed charged_cents refunded_cents spent_cents".split()
for row in csv.DictReader(sys.argv[1].splitlines()):
    print(*(row[column] for column in columns), sep=",")
' "$export_csv" | paste -s -d ' ' -)
same "the lines of the bill" "$bill" "bakery,3,3,3,0,15,0,15 clinic,6,6,6,0,20.08,0,20.08"

finish
