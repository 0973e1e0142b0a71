//! Sending messages and delivering them.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tollgate::{domain::message::backlog, worker};

use super::{Answer, TestApp};

impl TestApp {
    /// Sends one message; `input` is a `SendMessageInput`.
    pub async fn send(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: SendMessageInput!) { sendMessage(input: $input) { \
             message { id status cost segments to channel environment } replayed \
             errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// Sends this many messages with one segment each; `input` is merged into the input of each message.
    pub async fn send_many(&self, key: &str, count: usize, input: Value) {
        let query = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                     { errors { code } } }";
        let mut message = json!({ "to": "+12025550123", "text": "Hello" });
        for (name, value) in input.as_object().expect("an input object") {
            message[name] = value.clone();
        }
        let mut left = count;
        while left > 0 {
            let input = vec![message.clone(); left.min(100)];
            left -= input.len();
            let answer = self.ask_with(key, query, json!({ "input": input })).await;
            let payloads = answer.data()["sendMessages"].as_array().expect("a list");
            assert!(payloads.iter().all(|one| one["errors"] == json!([])), "{}", answer.body);
        }
    }

    /// Sends a one-segment SMS. Returns whether it was accepted.
    pub async fn sends(&self, key: &str) -> bool {
        let answer = self.send(key, json!({ "to": "+12025550123", "text": "Hello" })).await;
        answer.refusals().is_empty()
    }

    /// Delivers messages and processes their delivery reports until nothing is due. Each round moves the clock by one
    /// second.
    pub async fn deliver(&self) {
        for _ in 0..100 {
            let steps = self.run_backlog().await;
            let delivered = self.deliver_due().await;
            self.step(TimeDelta::seconds(1));
            let reported = self.deliver_due().await;
            if steps + delivered + reported == 0 {
                return;
            }
        }
        panic!("messages are still due after 100 rounds");
    }

    /// Applies changes to the statuses and settings of accounts to their waiting messages, as the worker does. Returns
    /// the number of steps.
    pub async fn run_backlog(&self) -> usize {
        let mut position = backlog::BacklogPosition::default();
        let mut steps = 0;
        while backlog::step(&self.app, &mut position).await.expect("the step is done") {
            steps += 1;
            assert!(steps < 10_000, "the backlog does not end");
        }
        steps
    }

    /// Runs one round of delivery. Returns the number of messages that were due.
    pub async fn deliver_due(&self) -> usize {
        worker::deliver_due(&self.app).await.expect("the worker delivers").messages
    }

    /// Returns the number of refunds in the ledger.
    pub async fn refunds(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'REFUND'").await
    }
}
