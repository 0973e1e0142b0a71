//! Phone numbers: searched, bought, renewed, released and transferred.

mod limit;
mod ownership;
mod purchase;
mod references;
mod renewal;
mod search;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, text};

const NUMBER: &str = "phoneNumber { id number country type capabilities name status upfrontPrice \
                      monthlyPrice renewsAt releasesAt releasedAt } errors { code field }";

/// Inventory lines: two phone numbers of the United States for 250.5 and 250 cents a month, one that is free, and one
/// of Germany.
const STOCK: &str = "+12025550101,US,LOCAL,SMS,100,250.5\n\
                     +12025550102,US,TOLL_FREE,SMS WHATSAPP,0,250\n\
                     +12025550103,US,LOCAL,WHATSAPP,0,0\n\
                     +4915112345678,DE,MOBILE,SMS,0,99\n";

async fn buy(t: &TestApp, key: &str, number: &str) -> Answer {
    t.purchase(key, json!({ "number": number })).await
}

async fn update(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = format!(
        "mutation($id: ID!, $input: UpdatePhoneNumberInput!) \
         {{ updatePhoneNumber(id: $id, input: $input) {{ {NUMBER} }} }}"
    );
    t.ask_with(key, &query, json!({ "id": id, "input": input })).await
}

async fn release(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = format!("mutation($id: ID!) {{ releasePhoneNumber(id: $id) {{ {NUMBER} }} }}");
    t.ask_with(key, &query, json!({ "id": id })).await
}

/// Returns the available phone numbers that match the filter.
async fn available(t: &TestApp, key: &str, filter: Value) -> Vec<String> {
    let query = "query($filter: AvailablePhoneNumberFilter!) \
                 { availablePhoneNumbers(filter: $filter) { number } }";
    let answer = t.ask_with(key, query, json!({ "filter": filter })).await;
    let found = answer.data()["availablePhoneNumbers"].as_array().expect("a list").clone();
    found.iter().map(|number| text(&number["number"])).collect()
}

async fn money(t: &TestApp, key: &str) -> Value {
    t.ask(key, "{ balance { balance totalSpent } }").await.data()["balance"].clone()
}
