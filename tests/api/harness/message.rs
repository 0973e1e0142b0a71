//! Sending messages and delivering them.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tollgate::{domain::message::backlog, worker};

use super::{Answer, TestApp};

impl TestApp {
    /// Sends one message; `input` as `SendMessageInput`.
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

    /// Sends so many messages of one segment, each as `input` has it besides.
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

    /// Sends a one-segment SMS and says whether it was accepted.
    pub async fn sends(&self, key: &str) -> bool {
        let answer = self.send(key, json!({ "to": "+12025550123", "text": "Hello" })).await;
        answer.refusals().is_empty()
    }

    /// Works off and delivers and reports until nothing more is due; time moves on between the steps.
    pub async fn deliver(&self) {
        for _ in 0..100 {
            let stepped = self.work_off().await;
            let delivered = worker::deliver_due(&self.app).await.expect("the worker delivers");
            self.step(TimeDelta::seconds(1));
            let reported = worker::deliver_due(&self.app).await.expect("the worker delivers");
            if stepped + delivered.messages + reported.messages == 0 {
                return;
            }
        }
        panic!("messages are due for ever");
    }

    /// Does what changes of accounts have left to be done with their messages, as the worker does, and says
    /// in how many steps.
    pub async fn work_off(&self) -> usize {
        let mut place = backlog::Place::default();
        let mut steps = 0;
        while backlog::step(&self.app, &mut place).await.expect("the step is done") {
            steps += 1;
            assert!(steps < 10_000, "there is something to be done for ever");
        }
        steps
    }
}
