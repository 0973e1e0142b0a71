//! Calls to the phone number mutations.

use serde_json::json;

use super::{Call, Stage};
use crate::harness::UNKNOWN_IDS;

pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    let main = stage.team.key.as_str();
    let sub = stage.sub.key.as_str();
    let own = Some(stage.sub.id.as_str());
    let other = Some(stage.other.id.as_str());
    let unknown = UNKNOWN_IDS[0];
    let [number, released] = &stage.numbers;
    vec![
        Call::new(
            sub,
            "purchasePhoneNumber",
            "(input: { number: \"+12025550183\", name: \"Support\" }) \
             { phoneNumber { id } errors { code } }",
            (
                own,
                None,
                json!(null),
                json!({ "name": "Support", "upfrontPrice": 0.5, "monthlyPrice": 0.25 }),
            ),
            "(input: { number: \"+12025550184\" }) { errors { code } }",
            "NUMBER_UNAVAILABLE",
            (own, None),
        ),
        Call::new(
            sub,
            "updatePhoneNumber",
            &format!("(id: \"{number}\", input: {{ name: \"Sales\" }}) {{ errors {{ code }} }}"),
            (own, Some(number), json!({ "name": null }), json!({ "name": "Sales" })),
            &format!("(id: \"{number}\", input: {{ name: \"\" }}) {{ errors {{ code }} }}"),
            "NAME_INVALID",
            (own, Some(number)),
        ),
        Call::new(
            sub,
            "releasePhoneNumber",
            &format!("(id: \"{released}\") {{ errors {{ code }} }}"),
            (own, Some(released), json!({ "status": "ACTIVE" }), json!({ "status": "RELEASED" })),
            &format!("(id: \"{unknown}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(unknown)),
        ),
        Call::new(
            main,
            "transferPhoneNumber",
            &format!(
                "(id: \"{number}\", input: {{ to: {{ id: \"{}\" }} }}) {{ errors {{ code }} }}",
                stage.other.id
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
    ]
}
