//! Contacts and opt-outs.

use serde_json::{Value, json};

use super::{Answer, TestApp, text};

impl TestApp {
    /// Creates a contact; `input` is a `CreateContactInput`.
    pub async fn create_contact(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: CreateContactInput!) { createContact(input: $input) { contact { \
             id displayName locale timeZone tags metadata createdAt updatedAt \
             addresses { id channel address label isPrimary } } errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// Creates a contact with these addresses. Returns the contact's id and the ids of the addresses, in the order of
    /// their channels.
    pub async fn contact(&self, key: &str, addresses: &[&str]) -> (String, Vec<String>) {
        let addresses: Vec<Value> =
            addresses.iter().map(|address| json!({ "address": address })).collect();
        let answer = self.create_contact(key, json!({ "addresses": addresses })).await;
        let made = &answer.data()["createContact"]["contact"];
        let addresses = made["addresses"].as_array().expect("a contact's addresses");
        (text(&made["id"]), addresses.iter().map(|address| text(&address["id"])).collect())
    }

    /// Opts an address out of messages from the key's account.
    pub async fn opt_out(&self, key: &str, address: &str) {
        let query = "mutation($input: AddOptOutInput!) { addOptOut(input: $input) \
                     { optOut { id } errors { code } } }";
        let answer = self.ask_with(key, query, json!({ "input": { "address": address } })).await;
        assert_eq!(answer.refusals(), [""; 0]);
    }
}
