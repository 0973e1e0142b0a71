//! Teams, their accounts and their keys.

use serde_json::{Value, json};

use super::{Answer, TestApp, text};

/// A team made by [`TestApp::team`].
#[derive(Clone)]
pub struct TestTeam {
    pub id: String,
    pub main_account_id: String,
    /// The main account's LIVE key.
    pub key: String,
}

/// A sub-account made by [`TestApp::sub_account`].
#[derive(Clone)]
pub struct TestSubAccount {
    pub id: String,
    /// Its LIVE key.
    pub key: String,
    pub key_id: String,
}

impl TestApp {
    /// Creates a team with this balance.
    pub async fn team(&self, balance_cents: i64) -> TestTeam {
        let answer = self
            .ask(
                &self.operator,
                "mutation { createTeam(input: { name: \"Acme\" }) \
                 { team { id } mainAccount { id } plainKey errors { code } } }",
            )
            .await;
        let made = &answer.data()["createTeam"];
        let team = TestTeam {
            id: text(&made["team"]["id"]),
            main_account_id: text(&made["mainAccount"]["id"]),
            key: text(&made["plainKey"]),
        };
        if balance_cents > 0 {
            let answer = self.top_up(&team, json!(balance_cents), "opening").await;
            assert_eq!(answer.refusals(), [""; 0]);
        }
        team
    }

    pub async fn top_up(&self, team: &TestTeam, amount: Value, idempotency_key: &str) -> Answer {
        self.ask_with(
            &self.operator,
            "mutation($input: TopUpTeamInput!) { topUpTeam(input: $input) \
             { team { balance } entry { id amount balanceAfter } replayed errors { code field } } }",
            json!({ "input": {
                "teamId": team.id, "amount": amount, "idempotencyKey": idempotency_key,
            } }),
        )
        .await
    }

    /// Creates a sub-account; `input` is merged into `{ name: "Client" }`.
    pub async fn sub_account(&self, team: &TestTeam, input: Value) -> TestSubAccount {
        let mut whole = json!({ "name": "Client" });
        for (name, value) in input.as_object().expect("an input object") {
            whole[name] = value.clone();
        }
        let answer = self.create_sub_account(&team.key, whole).await;
        assert_eq!(answer.refusals(), [""; 0]);
        let made = &answer.data()["createSubAccount"];
        TestSubAccount {
            id: text(&made["account"]["id"]),
            key: text(&made["plainKey"]),
            key_id: text(&made["apiKey"]["id"]),
        }
    }

    pub async fn create_sub_account(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: CreateSubAccountInput!) { createSubAccount(input: $input) { \
             account { id name status creditLimit totalSpent externalId metadata teamBalanceVisible } \
             apiKey { id prefix lastFour environment name } plainKey errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// Creates a key of an account of the team.
    pub async fn api_key(&self, team: &TestTeam, account_id: &str, environment: &str) -> String {
        let answer = self
            .ask_with(
                &team.key,
                "mutation($id: ID!, $environment: Environment) { createApiKey(account: { id: $id }, \
                 input: { name: \"Another\", environment: $environment }) \
                 { plainKey errors { code } } }",
                json!({ "id": account_id, "environment": environment }),
            )
            .await;
        text(&answer.data()["createApiKey"]["plainKey"])
    }
}
