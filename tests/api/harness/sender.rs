//! Senders.

use serde_json::{Value, json};

use super::{Answer, TestApp, text};

/// The selection of a sender's fields.
pub const SENDER: &str = "{ id name isDefault channels email emailName whatsapp telegram \
                          createdAt updatedAt }";

impl TestApp {
    /// Creates a sender; `input` is merged into `{ name: "Sender" }`.
    pub async fn create_sender(&self, key: &str, input: Value) -> Answer {
        let mut whole = json!({ "name": "Sender" });
        for (name, value) in input.as_object().expect("an input object") {
            whole[name] = value.clone();
        }
        let query = format!(
            "mutation($input: CreateSenderInput!) {{ createSender(input: $input) \
             {{ sender {SENDER} errors {{ code message field }} }} }}"
        );
        self.ask_with(key, &query, json!({ "input": whole })).await
    }

    /// Creates a sender and returns its id.
    pub async fn sender(&self, key: &str, input: Value) -> String {
        let answer = self.create_sender(key, input).await;
        assert_eq!(answer.refusals(), [""; 0]);
        text(&answer.data()["createSender"]["sender"]["id"])
    }
}
