//! Teams, their accounts and their keys.

use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};

use super::{Answer, TestApp, text};

/// A team that was created by [`TestApp::team`].
#[derive(Clone)]
pub struct TestTeam {
    pub id: String,
    pub main_account_id: String,
    /// The main account's LIVE key.
    pub key: String,
}

/// A sub-account that was created by [`TestApp::sub_account`].
#[derive(Clone)]
pub struct TestSubAccount {
    pub id: String,
    /// The sub-account's LIVE key.
    pub key: String,
    pub key_id: String,
}

impl TestApp {
    /// Takes the team's lock, as a change to the team's settings does.
    pub async fn lock_team(&self, team: &TestTeam) -> DatabaseTransaction {
        let txn = self.app.db.begin_write().await.expect("a transaction begins");
        let id = team.id.parse().expect("an id");
        tollgate::domain::account::team_lock::lock_team(&txn, id)
            .await
            .expect("the lock is free")
            .expect("the team is there");
        txn
    }

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

    /// Creates a key for an account of the team.
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

    /// Creates a team with a sub-account. Returns the team and the LIVE keys of its main account and of the
    /// sub-account.
    pub async fn main_and_sub_keys(&self) -> (TestTeam, [String; 2]) {
        let team = self.team(1000).await;
        let sub = self.sub_account(&team, json!({})).await;
        let keys = [team.key.clone(), sub.key];
        (team, keys)
    }

    /// Returns the id of a key.
    pub async fn key_id(&self, key: &str) -> String {
        let viewer = self.ask(key, "{ viewer { apiKey { id } } }").await;
        text(&viewer.data()["viewer"]["apiKey"]["id"])
    }

    pub async fn revoke_key(&self, team: &TestTeam, key_id: &str) {
        let query = "mutation($id: ID!) { revokeApiKey(id: $id) { errors { code } } }";
        let answer = self.ask_with(&team.key, query, json!({ "id": key_id })).await;
        assert_eq!(answer.refusals(), [""; 0]);
    }

    /// Calls `suspendSubAccount`, `reactivateSubAccount` or `deactivateSubAccount` and returns the
    /// new status.
    pub async fn change_status(&self, team: &TestTeam, id: &str, mutation: &str) -> Value {
        let query = format!(
            "mutation($id: ID!) {{ {mutation}(account: {{ id: $id }}) \
             {{ account {{ status }} errors {{ code }} }} }}"
        );
        let answer = self.ask_with(&team.key, &query, json!({ "id": id })).await;
        assert_eq!(answer.refusals(), [""; 0]);
        answer.data()[mutation]["account"]["status"].clone()
    }

    /// Sets the credit limit of a sub-account.
    pub async fn set_limit(&self, key: &str, id: &str, limit: Value) {
        let query = "mutation($id: ID!, $limit: Cents) { updateSubAccount(account: { id: $id }, \
                     input: { creditLimit: $limit }) { errors { code } } }";
        let answer = self.ask_with(key, query, json!({ "id": id, "limit": limit })).await;
        assert_eq!(answer.refusals(), [""; 0]);
    }

    /// Returns the balance that the team's main account sees.
    pub async fn balance(&self, team: &TestTeam) -> Value {
        let answer = self.ask(&team.key, "{ balance { balance } }").await;
        answer.data()["balance"]["balance"].clone()
    }
}
