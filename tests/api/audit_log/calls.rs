//! A call of each mutation that leaves entries in the audit log. A mutation without a row here fails
//! `each_mutation_leaves_one_entry_when_done_and_one_when_refused`.

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, TestSubAccount, TestTeam, UNKNOWN_IDS, post, text};

/// A team with two sub-accounts.
pub struct Stage {
    pub team: TestTeam,
    pub main_key_id: String,
    pub sub: TestSubAccount,
    pub other: TestSubAccount,
    /// Three contacts of `sub`, which has an opt-out too, with the ids of their addresses.
    pub contacts: [(String, Vec<String>); 3],
    /// Two phone numbers of `sub`; a third is in stock.
    pub numbers: [String; 2],
    /// A sender of `sub`.
    pub sender: String,
    /// A template of `sub`.
    pub template: String,
}

/// Entries that [`staged`] leaves of the sub-account's own work: three contacts, an opt-out, two phone
/// numbers, a sender, a template.
pub const STAGED_PRIVATE: usize = 8;

pub async fn staged(t: &TestApp) -> Stage {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "externalId": "abc", "creditLimit": 7 })).await;
    let other = t.sub_account(&team, json!({ "name": "Other", "externalId": "other" })).await;
    let contacts = [
        t.contact(&sub.key, &["+12025550171", "one@example.com"]).await,
        t.contact(&sub.key, &["+12025550172"]).await,
        t.contact(&sub.key, &["+12025550173"]).await,
    ];
    t.opt_out(&sub.key, "+12025550170").await;
    // They cost nothing.
    t.stock(
        "+12025550181,US,LOCAL,SMS,0,0\n+12025550182,US,LOCAL,SMS,0,0\n\
         +12025550183,US,LOCAL,SMS,0.5,0.25\n",
    )
    .await;
    let mut numbers = [String::new(), String::new()];
    for (id, number) in numbers.iter_mut().zip(["+12025550181", "+12025550182"]) {
        let bought = t.purchase(&sub.key, json!({ "number": number })).await;
        *id = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    }
    let viewer = t.ask(&team.key, "{ viewer { apiKey { id } } }").await;
    let main_key_id = text(&viewer.data()["viewer"]["apiKey"]["id"]);
    let sender = t.sender(&sub.key, json!({})).await;
    let bodies = json!([{ "channel": "SMS", "text": "Hello" }]);
    let template = t.template(&sub.key, bodies, json!([])).await;
    Stage { team, main_key_id, sub, other, contacts, numbers, sender, template }
}

/// A call that is accepted, another of the same mutation that is refused, and what is entered of them.
pub struct Call<'s> {
    /// Empty for the operator's.
    pub key: &'s str,
    pub mutation: &'static str,
    pub accepted: String,
    /// The account that is concerned, the target or none for the one that the answer names, before and after.
    pub entered: (Option<&'s str>, Option<&'s str>, Value, Value),
    pub refused: String,
    pub code: &'static str,
    /// The account that is concerned, and the target.
    pub named: (Option<&'s str>, Option<&'s str>),
    pub variables: Value,
}

/// A call of each mutation that leaves entries, in an order in which they can be made.
#[expect(clippy::too_many_lines, reason = "a table: a call of each mutation")]
pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    let (main, sub) = (stage.team.key.as_str(), stage.sub.key.as_str());
    let (own, other) = (Some(stage.sub.id.as_str()), Some(stage.other.id.as_str()));
    let team = stage.team.id.as_str();
    let (nobody, template) = (UNKNOWN_IDS[0], stage.template.as_str());
    let sender = stage.sender.as_str();
    let [(first, first_addresses), (second, _), (third, _)] = &stage.contacts;
    let [phone, email] = &first_addresses[..] else { panic!("two addresses") };
    let [number, released] = &stage.numbers;
    let other_key = Some(stage.other.key_id.as_str());
    let none = || json!(null);
    let many = vec![json!({ "address": "+12025550174" }); 1_001];
    let variables =
        json!({ "two": [{ "address": "+12025550175" }, { "address": "x" }], "many": many });
    let call = |key, mutation, accepted: &str, entered, refused: &str, code, named| Call {
        key,
        mutation,
        accepted: accepted.to_owned(),
        entered,
        refused: refused.to_owned(),
        code,
        named,
        variables: if mutation == "importOptOuts" { variables.clone() } else { json!({}) },
    };
    let quiet = json!({ "from": "22:00", "to": "08:00", "timeZone": "Europe/Vienna" });
    vec![
        call(
            sub,
            "setQuietHours",
            "(input: { from: \"22:00\", to: \"08:00\", timeZone: \"Europe/Vienna\" }) { errors { code } }",
            (own, own, json!({ "quietHours": null }), json!({ "quietHours": quiet })),
            "(input: { from: \"x\", to: \"08:00\", timeZone: \"UTC\" }) { errors { code } }",
            "TIME_INVALID",
            (own, None),
        ),
        call(
            sub,
            "createContact",
            "(input: { displayName: \"Ada\", addresses: [{ address: \"+12025550176\" }] }) \
             { contact { id } errors { code } }",
            (own, None, none(), json!({ "addresses": 1 })),
            "(input: { addresses: [] }) { errors { code } }",
            "ADDRESS_COUNT_INVALID",
            (own, None),
        ),
        call(
            sub,
            "updateContact",
            &format!(
                "(id: \"{first}\", input: {{ displayName: \"Bea\" }}) {{ errors {{ code }} }}"
            ),
            (own, Some(first), none(), none()),
            &format!(
                "(id: \"{nobody}\", input: {{ displayName: \"Bea\" }}) {{ errors {{ code }} }}"
            ),
            "NOT_FOUND",
            (own, Some(nobody)),
        ),
        call(
            sub,
            "addContactAddress",
            &format!(
                "(contactId: \"{third}\", input: {{ address: \"three@example.com\" }}) \
                 {{ contact {{ addresses {{ id }} }} errors {{ code }} }}"
            ),
            (own, None, none(), json!({ "contactId": third })),
            &format!(
                "(contactId: \"{third}\", input: {{ address: \"x\" }}) {{ errors {{ code }} }}"
            ),
            "ADDRESS_INVALID",
            (own, Some(third)),
        ),
        call(
            sub,
            "updateContactAddress",
            &format!("(id: \"{phone}\", input: {{ label: \"home\" }}) {{ errors {{ code }} }}"),
            (own, Some(phone), none(), json!({ "contactId": first })),
            &format!("(id: \"{phone}\", input: {{ label: \"\" }}) {{ errors {{ code }} }}"),
            "LABEL_INVALID",
            (own, Some(phone)),
        ),
        call(
            sub,
            "mergeContacts",
            &format!(
                "(input: {{ keepId: \"{first}\", mergeId: \"{second}\" }}) {{ errors {{ code }} }}"
            ),
            (own, Some(first), none(), json!({ "mergedContactId": second, "addressesMoved": 1 })),
            &format!(
                "(input: {{ keepId: \"{first}\", mergeId: \"{first}\" }}) {{ errors {{ code }} }}"
            ),
            "SAME_CONTACT",
            (own, Some(first)),
        ),
        call(
            sub,
            "removeContactAddress",
            &format!("(id: \"{email}\") {{ errors {{ code }} }}"),
            (own, Some(email), none(), json!({ "contactId": first })),
            "(id: \"not-an-id\") { errors { code } }",
            "NOT_FOUND",
            (own, None),
        ),
        call(
            sub,
            "deleteContact",
            &format!("(id: \"{third}\") {{ errors {{ code }} }}"),
            (own, Some(third), none(), json!({ "addresses": 2, "messagesErased": 0 })),
            &format!("(id: \"{nobody}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(nobody)),
        ),
        call(
            sub,
            "addOptOut",
            "(input: { address: \"+12025550177\" }) { optOut { id } errors { code } }",
            (own, None, none(), none()),
            "(input: { address: \"+12025550177\", reason: \"\" }) { errors { code } }",
            "REASON_INVALID",
            (own, None),
        ),
        call(
            sub,
            "importOptOuts",
            "(input: $two) { code }",
            (own, None, none(), json!({ "imported": 1, "refused": 1 })),
            "(input: $many) { code }",
            "BAD_USER_INPUT",
            (own, None),
        ),
        call(
            sub,
            "removeOptOut",
            "(input: { address: \"+12025550170\" }) { optOut { id } errors { code } }",
            (own, None, none(), none()),
            "(input: { address: \"+12025550178\" }) { errors { code } }",
            "NOT_FOUND",
            (own, None),
        ),
        call(
            sub,
            "createSender",
            "(input: { name: \"Support\", email: \"support@example.com\" }) \
             { sender { id } errors { code } }",
            (own, None, none(), json!({ "name": "Support", "isDefault": false })),
            "(input: { name: \"\" }) { errors { code } }",
            "NAME_INVALID",
            (own, None),
        ),
        call(
            sub,
            "updateSender",
            &format!(
                "(id: \"{sender}\", input: {{ name: \"Sales\", telegram: \"acme_bot\" }}) \
                 {{ errors {{ code }} }}"
            ),
            (own, Some(sender), json!({ "name": "Sender" }), json!({ "name": "Sales" })),
            &format!("(id: \"{sender}\", input: {{ isDefault: false }}) {{ errors {{ code }} }}"),
            "DEFAULT_NEEDED",
            (own, Some(sender)),
        ),
        call(
            sub,
            "deleteSender",
            &format!("(id: \"{sender}\") {{ errors {{ code }} }}"),
            (own, Some(sender), none(), none()),
            &format!("(id: \"{nobody}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(nobody)),
        ),
        call(
            sub,
            "createTemplate",
            "(input: { name: \"Welcome\", bodies: [{ channel: SMS, text: \"Hello\" }] }) \
             { template { id } errors { code } }",
            (own, None, none(), none()),
            "(input: { name: \"\", bodies: [{ channel: SMS, text: \"Hello\" }] }) { errors { code } }",
            "NAME_INVALID",
            (own, None),
        ),
        call(
            sub,
            "updateTemplate",
            &format!("(id: \"{template}\", input: {{ name: \"Other\" }}) {{ errors {{ code }} }}"),
            (own, Some(template), none(), none()),
            &format!("(id: \"{template}\", input: {{ name: \"\" }}) {{ errors {{ code }} }}"),
            "NAME_INVALID",
            (own, Some(template)),
        ),
        call(
            sub,
            "deleteTemplate",
            &format!("(id: \"{template}\") {{ errors {{ code }} }}"),
            (own, Some(template), none(), none()),
            &format!("(id: \"{nobody}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(nobody)),
        ),
        call(
            sub,
            "purchasePhoneNumber",
            "(input: { number: \"+12025550183\", name: \"Support\" }) \
             { phoneNumber { id } errors { code } }",
            (
                own,
                None,
                none(),
                json!({ "name": "Support", "upfrontPrice": 0.5, "monthlyPrice": 0.25 }),
            ),
            "(input: { number: \"+12025550184\" }) { errors { code } }",
            "NUMBER_UNAVAILABLE",
            (own, None),
        ),
        call(
            sub,
            "updatePhoneNumber",
            &format!("(id: \"{number}\", input: {{ name: \"Sales\" }}) {{ errors {{ code }} }}"),
            (own, Some(number), json!({ "name": null }), json!({ "name": "Sales" })),
            &format!("(id: \"{number}\", input: {{ name: \"\" }}) {{ errors {{ code }} }}"),
            "NAME_INVALID",
            (own, Some(number)),
        ),
        call(
            sub,
            "releasePhoneNumber",
            &format!("(id: \"{released}\") {{ errors {{ code }} }}"),
            (own, Some(released), json!({ "status": "ACTIVE" }), json!({ "status": "RELEASED" })),
            &format!("(id: \"{nobody}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(nobody)),
        ),
        call(
            main,
            "transferPhoneNumber",
            &format!(
                "(id: \"{number}\", input: {{ to: {{ externalId: \"other\" }} }}) \
                 {{ errors {{ code }} }}"
            ),
            (
                other,
                Some(number),
                json!({ "accountId": stage.sub.id }),
                json!({ "accountId": stage.other.id }),
            ),
            &format!(
                "(id: \"{number}\", input: {{ to: {{ externalId: \"nobody\" }} }}) \
                 {{ errors {{ code }} }}"
            ),
            "ACCOUNT_NOT_FOUND",
            (None, Some(number)),
        ),
        call(
            main,
            "createSubAccount",
            "(input: { name: \"New\", externalId: \"new\", creditLimit: 0.5, metadata: { plan: \"gold\" } }) \
             { account { id } errors { code } }",
            (
                // Its own id, which the answer has.
                None,
                None,
                none(),
                json!({ "name": "New", "externalId": "new", "creditLimit": 0.5, "status": "ACTIVE",
                        "metadata": "(not shown)", "teamBalanceVisible": true, "apiKeyId": "(id)" }),
            ),
            "(input: { name: \"\", externalId: \"019a0000-0000-7000-8000-000000000001\" }) \
             { errors { code } }",
            "NAME_INVALID",
            (None, None),
        ),
        call(
            main,
            "updateSubAccount",
            "(account: { externalId: \"abc\" }, input: { creditLimit: null, name: \"Named\", \
             metadata: { plan: \"silver\" } }) { errors { code } }",
            (
                own,
                own,
                json!({ "creditLimit": 7, "name": "Client", "metadata": null }),
                json!({ "creditLimit": null, "name": "Named", "metadata": "(not shown)" }),
            ),
            "(account: { externalId: \"abc\" }, input: { creditLimit: -1 }) { errors { code } }",
            "CREDIT_LIMIT_INVALID",
            (own, own),
        ),
        call(
            main,
            "suspendSubAccount",
            "(account: { externalId: \"other\" }, input: { reason: \"Unpaid\" }) { errors { code } }",
            (
                other,
                other,
                json!({ "status": "ACTIVE", "statusReason": null }),
                json!({ "status": "SUSPENDED", "statusReason": "Unpaid" }),
            ),
            "(account: { externalId: \"other\" }, input: { reason: \"\" }) { errors { code } }",
            "REASON_INVALID",
            (other, other),
        ),
        call(
            main,
            "reactivateSubAccount",
            "(account: { externalId: \"other\" }) { errors { code } }",
            (
                other,
                other,
                json!({ "status": "SUSPENDED", "statusReason": "Unpaid" }),
                json!({ "status": "ACTIVE", "statusReason": null }),
            ),
            &format!("(account: {{ id: \"{nobody}\" }}) {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (None, Some(nobody)),
        ),
        call(
            main,
            "createApiKey",
            "(account: { externalId: \"other\" }, input: { name: \"Second\", environment: TEST, \
             expiresAt: \"2027-01-01T00:00:00+01:00\" }) { apiKey { id } errors { code } }",
            (
                other,
                None,
                none(),
                json!({ "name": "Second", "environment": "TEST",
                        "expiresAt": "2026-12-31T23:00:00.000Z" }),
            ),
            "(account: { externalId: \"other\" }, input: { name: \"Second\", \
             expiresAt: \"2020-01-01T00:00:00Z\" }) { errors { code } }",
            "EXPIRY_INVALID",
            (other, other),
        ),
        call(
            main,
            "updateApiKey",
            &format!(
                "(id: \"{}\", input: {{ name: \"Renamed\" }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            (other, other_key, json!({ "name": "Default" }), json!({ "name": "Renamed" })),
            &format!(
                "(id: \"{}\", input: {{ name: \"\" }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            "NAME_INVALID",
            (other, other_key),
        ),
        call(
            main,
            "rotateApiKey",
            &format!(
                "(id: \"{}\", input: {{ graceSeconds: 60 }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            (
                other,
                other_key,
                json!({ "graceEndsAt": null }),
                json!({ "graceEndsAt": "2026-03-16T12:01:00.000Z", "newApiKeyId": "(id)" }),
            ),
            &format!(
                "(id: \"{}\", input: {{ graceSeconds: -1 }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            "GRACE_INVALID",
            (other, other_key),
        ),
        call(
            main,
            "revokeApiKey",
            &format!("(id: \"{}\") {{ errors {{ code }} }}", stage.other.key_id),
            (
                other,
                other_key,
                json!({ "revokedAt": null }),
                json!({ "revokedAt": "2026-03-16T12:00:00.000Z" }),
            ),
            &format!("(id: \"{}\") {{ errors {{ code }} }}", stage.main_key_id),
            "LAST_KEY",
            (Some(&stage.team.main_account_id), Some(&stage.main_key_id)),
        ),
        call(
            main,
            "deactivateSubAccount",
            "(account: { externalId: \"other\" }) { errors { code } }",
            (
                other,
                other,
                json!({ "status": "ACTIVE" }),
                json!({ "status": "INACTIVE", "keysRevoked": 2 }),
            ),
            "(account: { externalId: \"nobody\" }) { errors { code } }",
            "NOT_FOUND",
            (None, None),
        ),
        call(
            "",
            "createTeam",
            "(input: { name: \"Second\" }) { team { id } errors { code } }",
            (
                None,
                None,
                none(),
                json!({ "name": "Second", "mainAccountId": "(id)", "apiKeyId": "(id)" }),
            ),
            "(input: { name: \"\" }) { errors { code } }",
            "NAME_INVALID",
            (None, None),
        ),
        call(
            "",
            "topUpTeam",
            &format!(
                "(input: {{ teamId: \"{team}\", amount: 0.25, idempotencyKey: \"a\", note: \"In\" }}) \
                 {{ entry {{ id }} errors {{ code }} }}"
            ),
            (
                None,
                None,
                json!({ "balance": 999.25 }),
                json!({ "balance": 999.5, "amount": 0.25, "note": "In" }),
            ),
            &format!(
                "(input: {{ teamId: \"{team}\", amount: 0, idempotencyKey: \"b\" }}) \
                 {{ errors {{ code }} }}"
            ),
            "AMOUNT_INVALID",
            (None, Some(team)),
        ),
        call(
            "",
            "adjustTeamBalance",
            &format!(
                "(input: {{ teamId: \"{team}\", amount: -1, idempotencyKey: \"c\", reason: \"Typo\" }}) \
                 {{ entry {{ id }} errors {{ code }} }}"
            ),
            (
                None,
                None,
                json!({ "balance": 999.5 }),
                json!({ "balance": 998.5, "amount": -1, "note": "Typo" }),
            ),
            &format!(
                "(input: {{ teamId: \"{team}\", amount: -2000, idempotencyKey: \"d\", \
                 reason: \"Typo\" }}) {{ errors {{ code }} }}"
            ),
            "INSUFFICIENT_BALANCE",
            (None, Some(team)),
        ),
    ]
}

impl Call<'_> {
    /// Calls the mutation with these arguments and this selection, as this request.
    pub async fn ask(&self, t: &TestApp, key: &str, call: &str, request_id: &str) -> Answer {
        let declared = match call.contains("$two") {
            true => "($two: [AddOptOutInput!]!)",
            false if call.contains("$many") => "($many: [AddOptOutInput!]!)",
            false => "",
        };
        let query = format!("mutation{declared} {{ {}{call} }}", self.mutation);
        let body = json!({ "query": query, "variables": self.variables }).to_string();
        let mut request = post(key, body);
        request.headers_mut().insert("x-request-id", request_id.parse().expect("a header"));
        t.request(request).await
    }

    /// The key that may call it.
    pub fn key<'k>(&'k self, t: &'k TestApp) -> &'k str {
        if self.key.is_empty() { &t.operator } else { self.key }
    }

    pub fn action(&self) -> String {
        let capital = |letter: char| letter.is_ascii_uppercase();
        self.mutation
            .chars()
            .flat_map(|letter| [capital(letter).then_some('_'), Some(letter.to_ascii_uppercase())])
            .flatten()
            .collect()
    }
}
