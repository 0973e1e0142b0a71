//! Floods of mutations other than sends, with a second probe that also uses mutations.

use std::sync::Arc;

use db_test::db_test;
use serde_json::{Value, json};

use crate::{
    Database::{self},
    fixture::Fixture,
    probe,
    requests::post,
    scale,
};

const CONNECTIONS: usize = 16;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn floods_of_mutations(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let account = fixture.sub_account().await;
    let main = fixture.attacker.clone();
    let id_of = |value: &Value| value["id"].as_str().expect("an id").to_owned();

    let create = "mutation { createSender(input: { name: \"S\" }) { sender { id } } }";
    let sender = fixture.ask(&main, create, json!({})).await;
    let sender = id_of(&sender["createSender"]["sender"]);
    let update = "mutation($id: ID!, $name: String!) \
                  { updateSender(id: $id, input: { name: $name }) { errors { code } } }";
    let update = post(&main, update, &json!({ "id": sender, "name": "x".repeat(200) }));

    let import = "mutation($input: [AddOptOutInput!]!) \
                  { importOptOuts(input: $input) { code } }";
    let addresses: Vec<Value> = (0..1_000)
        .map(|at| json!({ "address": format!("a{at}@example.com"), "reason": "x".repeat(150) }))
        .collect();
    let import = post(&main, import, &json!({ "input": addresses }));

    let status = |mutation: &str| {
        let query = format!(
            "mutation($id: ID!) {{ {mutation}(account: {{ id: $id }}) {{ errors {{ code }} }} }}"
        );
        post(&main, &query, &json!({ "id": account.id }))
    };
    let statuses = [status("deactivateSubAccount"), status("reactivateSubAccount")];

    let keys = "query($id: ID!) { subAccount(by: { id: $id }) { apiKeys { nodes { id } } } }";
    let keys = fixture.ask(&main, keys, json!({ "id": account.id })).await;
    let key = id_of(&keys["subAccount"]["apiKeys"]["nodes"][0]);
    let rotate = "mutation($id: ID!) { rotateApiKey(id: $id) { errors { code } } }";
    let rotate = post(&main, rotate, &json!({ "id": key }));

    let delete = "mutation($id: ID!) { deleteContact(id: $id) { errors { code } } }";
    let nobody = "01a20ae3-938d-7450-aca1-147918b12866";
    let delete = post(&main, delete, &json!({ "id": nobody }));

    let all: Vec<Arc<[u8]>> =
        [vec![Arc::clone(&update), Arc::clone(&import), rotate, delete], statuses.to_vec()]
            .concat();
    let kinds = [
        ("mutations of every kind", all),
        ("1,000 opt-outs that are imported again and again", vec![import]),
        ("a sender that is changed again and again", vec![update]),
        ("a sub-account that is deactivated and reactivated", statuses.to_vec()),
    ];
    for (what, requests) in kinds.into_iter().take(scale(1, 4)) {
        let name = format!("{what}, {CONNECTIONS} connections");
        let (target, key) = (fixture.server.address, fixture.probe.clone());
        let mut during = Vec::new();
        fixture
            .attack(&name, &["200"], async |attack| {
                let probe = probe::mutations(target, &key);
                attack.repeat(CONNECTIONS, &requests);
                attack.run().await;
                attack.stop().await;
                during = probe.stop().await;
            })
            .await;
        fixture.check_probe(&format!("{name}, and other mutations"), &during);
    }
    fixture.finish().await;
}
