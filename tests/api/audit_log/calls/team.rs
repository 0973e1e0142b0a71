//! Calls in which an operator manages teams.

use serde_json::json;

use super::{Call, Stage};

pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    let team = stage.team.id.as_str();
    vec![
        Call::new(
            "",
            "createTeam",
            "(input: { name: \"Second\" }) { team { id } errors { code } }",
            (
                None,
                None,
                json!(null),
                json!({ "name": "Second", "mainAccountId": "(id)", "apiKeyId": "(id)" }),
            ),
            "(input: { name: \"\" }) { errors { code } }",
            "NAME_INVALID",
            (None, None),
        ),
        Call::new(
            "",
            "renameTeam",
            &format!(
                "(input: {{ teamId: \"{team}\", name: \"Renamed\" }}) {{ errors {{ code }} }}"
            ),
            (None, Some(team), json!({ "name": "Acme" }), json!({ "name": "Renamed" })),
            &format!("(input: {{ teamId: \"{team}\", name: \"\" }}) {{ errors {{ code }} }}"),
            "NAME_INVALID",
            (None, Some(team)),
        ),
        Call::new(
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
        Call::new(
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
