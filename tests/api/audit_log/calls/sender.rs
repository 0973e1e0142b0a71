//! Calls to the sender and template mutations.

use serde_json::json;

use super::{Call, Stage};
use crate::harness::UNKNOWN_IDS;

pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    let sub = stage.sub.key.as_str();
    let own = Some(stage.sub.id.as_str());
    let unknown = UNKNOWN_IDS[0];
    let template = stage.template.as_str();
    let sender = stage.sender.as_str();
    vec![
        Call::new(
            sub,
            "createSender",
            "(input: { name: \"Support\", email: \"support@example.com\" }) \
             { sender { id } errors { code } }",
            (own, None, json!(null), json!({ "name": "Support", "isDefault": false })),
            &format!(
                "(input: {{ name: \"\", phoneNumberId: \"{}\" }}) {{ errors {{ code }} }}",
                stage.numbers[0]
            ),
            "NAME_INVALID",
            (own, None),
        ),
        Call::new(
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
        Call::new(
            sub,
            "deleteSender",
            &format!("(id: \"{sender}\") {{ errors {{ code }} }}"),
            (own, Some(sender), json!(null), json!(null)),
            &format!("(id: \"{unknown}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(unknown)),
        ),
        Call::new(
            sub,
            "createTemplate",
            "(input: { name: \"Welcome\", bodies: [{ channel: SMS, text: \"Hello\" }] }) \
             { template { id } errors { code } }",
            (own, None, json!(null), json!(null)),
            "(input: { name: \"\", bodies: [{ channel: SMS, text: \"Hello\" }] }) { errors { code } }",
            "NAME_INVALID",
            (own, None),
        ),
        Call::new(
            sub,
            "updateTemplate",
            &format!("(id: \"{template}\", input: {{ name: \"Other\" }}) {{ errors {{ code }} }}"),
            (own, Some(template), json!(null), json!(null)),
            &format!("(id: \"{template}\", input: {{ name: \"\" }}) {{ errors {{ code }} }}"),
            "NAME_INVALID",
            (own, Some(template)),
        ),
        Call::new(
            sub,
            "deleteTemplate",
            &format!("(id: \"{template}\") {{ errors {{ code }} }}"),
            (own, Some(template), json!(null), json!(null)),
            &format!("(id: \"{unknown}\") {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (own, Some(unknown)),
        ),
    ]
}
