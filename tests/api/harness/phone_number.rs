//! Phone numbers.

use serde_json::{Value, json};
use tollgate::domain::{
    caller::OperatorCaller,
    phone_number::{self, inventory_import},
};

use super::{Answer, TestApp, text};

impl TestApp {
    /// Adds phone numbers to the inventory. Each line contains a number, its country, type, capabilities, upfront price
    /// and monthly price, separated by commas. Prices are in cents.
    pub async fn stock(&self, lines: &str) {
        let file = format!("{}\n{lines}", inventory_import::COLUMNS.join(","));
        let rows = inventory_import::read_csv(file.as_bytes()).expect("a list of numbers");
        let diff = inventory_import::diff(&self.app, rows).await.expect("the inventory is read");
        let operator = OperatorCaller::on_the_command_line();
        inventory_import::commit(&self.app, &operator, diff).await.expect("they are in stock");
    }

    /// Buys a phone number; `input` is a `PurchasePhoneNumberInput`.
    pub async fn purchase(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: PurchasePhoneNumberInput!) { purchasePhoneNumber(input: $input) { \
             phoneNumber { id number country type capabilities name status upfrontPrice \
             monthlyPrice renewsAt releasesAt releasedAt } replayed errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// Buys a phone number for one cent a month and returns its id.
    pub async fn phone_number(&self, key: &str, number: &str) -> String {
        self.stock(&format!("{number},US,LOCAL,SMS,0,1\n")).await;
        let answer = self.purchase(key, json!({ "number": number })).await;
        assert_eq!(answer.refusals(), [""; 0]);
        text(&answer.data()["purchasePhoneNumber"]["phoneNumber"]["id"])
    }

    /// Renews every phone number whose renewal is due, as the worker does.
    pub async fn renew(&self) {
        let mut position = None;
        loop {
            position =
                phone_number::renewal::renew(&self.app, position).await.expect("the renewal runs");
            if position.is_none() {
                return;
            }
        }
    }
}
