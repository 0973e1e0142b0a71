#!/usr/bin/env bash
# A reseller: creates accounts for its customers through the API, hides its own balance from them, and
# suspends, reactivates and deactivates them.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

say "The reseller has a team with 300 cents."
start_with_team "Reseller" 300

say "It creates two customers with its own ids for them. They cannot see its balance."
create "Harbour Hotel" crm-1001 'metadata: { plan: "gold", seats: 12 }, teamBalanceVisible: false'
hotel=$key
create "Corner Shop" crm-1002 'metadata: { plan: "basic" }, teamBalanceVisible: false, creditLimit: 100'
shop=$key
say "Creating a customer twice is refused, so a repeated sign-up does no harm."
ask "$main_key" 'mutation {
  createSubAccount(input: { name: "Harbour Hotel", externalId: "crm-1001" }) { plainKey errors { code field } }
}'
expect "errors" data.createSubAccount.errors \
  '[{"code":"EXTERNAL_ID_TAKEN","field":["input","externalId"]}]'
ask "$main_key" '{ subAccounts(filter: { metadata: { key: "plan", value: "gold" } }) { nodes { externalId } } }'
expect "customers with the gold plan" data.subAccounts.nodes '[{"externalId":"crm-1001"}]'

say "The customers send. They see what they spent, but not the reseller's balance."
send "$hotel" +12025550131 "Your room is ready."
accepted "Harbour Hotel" 0.83
send "$shop" +12025550132 "Your order is ready."
accepted "Corner Shop" 0.83
delivered "$hotel" 1
ask "$hotel" '{ balance { balance totalSpent creditLimit } ledger { nodes { kind amount balanceAfter } } }'
expect "balance" data.balance '{"balance":null,"totalSpent":0.83,"creditLimit":null}'
expect "ledger" data.ledger.nodes '[{"kind":"CHARGE","amount":-0.83,"balanceAfter":null}]'
ask "$main_key" '{ balance { balance } }'
expect "the reseller's balance" data.balance.balance 298.34

say "Harbour Hotel does not pay, so it is suspended: it can read, but not send."
ask "$main_key" 'mutation {
  suspendSubAccount(account: { externalId: "crm-1001" }, input: { reason: "Invoice 88 is open" }) {
    account { status statusReason } errors { code }
  }
}'
expect "status" data.suspendSubAccount.account '{"status":"SUSPENDED","statusReason":"Invoice 88 is open"}'
send "$hotel" +12025550131 "Your room is ready."
refused "Harbour Hotel" ACCOUNT_SUSPENDED
send "$shop" +12025550132 "Your order is ready."
accepted "Corner Shop" 0.83

say "It pays and is reactivated. Its key works again immediately."
ask "$main_key" 'mutation {
  reactivateSubAccount(account: { externalId: "crm-1001" }) { account { status } errors { code } }
}'
expect "status" data.reactivateSubAccount.account.status ACTIVE
send "$hotel" +12025550131 "Your room is ready."
accepted "Harbour Hotel" 0.83

say "Corner Shop leaves. Deactivating its account revokes its keys immediately."
delivered "$shop" 2
ask "$main_key" 'mutation {
  deactivateSubAccount(account: { externalId: "crm-1002" }, input: { reason: "Contract ended" }) {
    account { status } keysRevoked errors { code }
  }
}'
expect "status" data.deactivateSubAccount.account.status INACTIVE
expect "revoked keys" data.deactivateSubAccount.keysRevoked 1
send "$shop" +12025550132 "Your order is ready."
expect "Corner Shop is refused" errors.0.extensions.code UNAUTHENTICATED
same "HTTP status" "$status" 401

say "Its usage is kept for the last bill."
ask "$main_key" '{ subAccount(by: { externalId: "crm-1002" }) {
  totalSpent usage { totals { messages delivered spent } }
} }'
expect "Corner Shop" data.subAccount \
  '{"totalSpent":1.66,"usage":{"totals":{"messages":2,"delivered":2,"spent":1.66}}}'

say "If it comes back, its account is reactivated and gets a new key; the old key stays revoked."
ask "$main_key" 'mutation {
  reactivateSubAccount(account: { externalId: "crm-1002" }) { errors { code } }
  createApiKey(account: { externalId: "crm-1002" }, input: { name: "New contract" }) { plainKey errors { code } }
}'
expect "errors" data.createApiKey.errors '[]'
new_key=$(got data.createApiKey.plainKey)
send "$new_key" +12025550132 "We are back."
accepted "Corner Shop" 0.83
send "$shop" +12025550132 "We are back."
same "HTTP status for the old key" "$status" 401

finish
