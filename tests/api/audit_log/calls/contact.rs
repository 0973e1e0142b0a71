//! Calls to the quiet hours, contact and opt-out mutations.

use serde_json::json;

use super::{Call, Stage};
use crate::harness::UNKNOWN_IDS;

#[expect(clippy::too_many_lines, reason = "a table: one call of each mutation")]
pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    let sub = stage.sub.key.as_str();
    let own = Some(stage.sub.id.as_str());
    let unknown = UNKNOWN_IDS[0];
    let [(first, first_addresses), (second, _), (third, _)] = &stage.contacts;
    let [phone, email] = &first_addresses[..] else { panic!("two addresses") };
    let quiet = json!({ "from": "22:00", "to": "08:00", "timeZone": "Europe/Vienna" });
    let many = vec![json!({ "address": "+12025550174" }); 1_001];
    let variables =
        json!({ "two": [{ "address": "+12025550175" }, { "address": "x" }], "many": many });
    vec![
        Call::new(
            sub,
            "setQuietHours",
            "(input: { from: \"22:00\", to: \"08:00\", timeZone: \"Europe/Vienna\" }) { errors { code } }",
            (own, own, json!({ "quietHours": null }), json!({ "quietHours": quiet })),
            "(input: { from: \"x\", to: \"08:00\", timeZone: \"UTC\" }) { errors { code } }",
            "TIME_INVALID",
            (own, None),
        ),
        Call::new(
            sub,
            "createContact",
            "(input: { displayName: \"Ada\", addresses: [{ address: \"+12025550176\" }] }) \
             { contact { id } errors { code } }",
            (own, None, json!(null), json!({ "addresses": 1 })),
            "(input: { addresses: [] }) { errors { code } }",
            "ADDRESS_COUNT_INVALID",
            (own, None),
        ),
        Call::new(
            sub,
            "updateContact",
            &format!(
                "(id: \"{first}\", input: {{ displayName: \"Bea\" }}) {{ errors {{ code }} }}"
            ),
            (own, Some(first), json!(null), json!(null)),
            &format!(
                "(id: \"{unknown}\", input: {{ displayName: \"Bea\" }}) {{ errors {{ code }} }}"
            ),
            "NOT_FOUND",
            (own, Some(unknown)),
        ),
        Call::new(
            sub,
            "addContactAddress",
            &format!(
                "(contactId: \"{third}\", input: {{ address: \"three@example.com\" }}) \
                 {{ contact {{ addresses {{ id }} }} errors {{ code }} }}"
            ),
            (own, None, json!(null), json!({ "contactId": third })),
            &format!(
                "(contactId: \"{third}\", input: {{ address: \"x\" }}) {{ errors {{ code }} }}"
            ),
            "ADDRESS_INVALID",
            (own, Some(third)),
        ),
        Call::new(
            sub,
            "updateContactAddress",
            &format!("(id: \"{phone}\", input: {{ label: \"home\" }}) {{ errors {{ code }} }}"),
            (own, Some(phone), json!(null), json!({ "contactId": first })),
            &format!("(id: \"{phone}\", input: {{ label: \"\" }}) {{ errors {{ code }} }}"),
            "LABEL_INVALID",
            (own, Some(phone)),
        ),
        Call::new(
            sub,
            "mergeContacts",
            &format!(
                "(input: {{ keepId: \"{first}\", mergeId: \"{second}\" }}) {{ errors {{ code }} }}"
            ),
            (
                own,
                Some(first),
                json!(null),
                json!({ "mergedContactId": second, "addressesMoved": 1 }),
            ),
            &format!(
                "(input: {{ keepId: \"{first}\", mergeId: \"{first}\" }}) {{ errors {{ code }} }}"
            ),
            "SAME_CONTACT",
            (own, Some(first)),
        ),
        Call::new(
            sub,
            "removeContactAddress",
            &format!("(id: \"{email}\") {{ errors {{ code }} }}"),
            (own, Some(email), json!(null), json!({ "contactId": first })),
            "(id: \"not-an-id\") { errors { code } }",
            "NOT_FOUND",
            (own, None),
        ),
        Call::new(
            sub,
            "deleteContact",
            &format!("(id: \"{third}\") {{ errors {{ code }} }}"),
            (own, Some(third), json!(null), json!({ "addresses": 2, "messagesErased": 0 })),
            &format!("(id: \"{unknown}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(unknown)),
        ),
        Call::new(
            sub,
            "addOptOut",
            "(input: { address: \"+12025550177\" }) { optOut { id } errors { code } }",
            (own, None, json!(null), json!(null)),
            "(input: { address: \"+12025550177\", reason: \"\" }) { errors { code } }",
            "REASON_INVALID",
            (own, None),
        ),
        Call {
            variables,
            ..Call::new(
                sub,
                "importOptOuts",
                "(input: $two) { code }",
                (own, None, json!(null), json!({ "imported": 1, "refused": 1 })),
                "(input: $many) { code }",
                "BAD_USER_INPUT",
                (own, None),
            )
        },
        Call::new(
            sub,
            "removeOptOut",
            "(input: { address: \"+12025550170\" }) { optOut { id } errors { code } }",
            (own, None, json!(null), json!(null)),
            "(input: { address: \"+12025550178\" }) { errors { code } }",
            "NOT_FOUND",
            (own, None),
        ),
    ]
}
