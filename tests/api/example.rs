//! The data of `tollgate demo`, over HTTP.

use db_test::db_test;
use serde_json::json;

use crate::harness::TestApp;

#[db_test]
async fn each_key_of_the_demo_sees_the_balance_that_its_role_may_see(t: &TestApp) {
    let (keys, is_fresh) =
        tollgate::cli::demo::build_or_resume(&t.app).await.expect("the demo's data is created");
    assert!(is_fresh);
    let query = "{ balance { balance currency isSubAccount totalSpent creditLimit } }";

    for (key, is_sub_account, total_spent, credit_limit) in [
        (&keys.main, false, json!(null), json!(null)),
        (&keys.clients[0], true, json!(4500), json!(10_000)),
        (&keys.clients[1], true, json!(12_000), json!(20_000)),
        (&keys.clients[2], true, json!(3000), json!(null)),
    ] {
        let answer = t.ask(key, query).await;
        assert_eq!(
            answer.data()["balance"],
            json!({
                "balance": 50_000, "currency": "USD", "isSubAccount": is_sub_account,
                "totalSpent": total_spent, "creditLimit": credit_limit,
            })
        );
    }
    assert_eq!(t.ask(&keys.operator, query).await.data()["balance"], json!(null));
}

#[db_test]
async fn the_demo_has_phone_numbers_to_buy(t: &TestApp) {
    let (keys, _) =
        tollgate::cli::demo::build_or_resume(&t.app).await.expect("the demo's data is created");
    let [client, ..] = &keys.clients[..] else { panic!("three clients") };
    let query = "{ availablePhoneNumbers(filter: { country: \"US\" }) { number type } }";
    let number = |number: &str, of_type: &str| json!({ "number": number, "type": of_type });
    let mut stock = vec![
        number("+12025550150", "LOCAL"),
        number("+12025550151", "LOCAL"),
        number("+18005550152", "TOLL_FREE"),
    ];
    assert_eq!(t.ask(client, query).await.data()["availablePhoneNumbers"], json!(stock));

    let bought = t.purchase(client, json!({ "number": "+12025550150" })).await;

    assert_eq!(bought.refusals(), [""; 0]);
    stock.remove(0);
    assert_eq!(t.ask(client, query).await.data()["availablePhoneNumbers"], json!(stock));
    let balance = t.ask(client, "{ balance { balance totalSpent } }").await;
    assert_eq!(balance.data()["balance"], json!({ "balance": 49_700, "totalSpent": 4800 }));
    // A second start of the demo adds no data.
    let (keys, is_fresh) =
        tollgate::cli::demo::build_or_resume(&t.app).await.expect("the demo's data is found");
    assert!(!is_fresh);
    let left = t.ask(&keys.clients[0], query).await;
    assert_eq!(left.data()["availablePhoneNumbers"], json!(stock));
}

/// The main account sees how much its client has spent in total, but not the contacts and senders of the client.
#[db_test]
async fn client_abc_has_contacts_a_number_and_a_refunded_message(t: &TestApp) {
    let (keys, _) =
        tollgate::cli::demo::build_or_resume(&t.app).await.expect("the demo's data is created");
    t.deliver().await;
    let query = "{ contacts { nodes { displayName addresses { address } } } \
                 senders { nodes { name isDefault channels phoneNumber { number status } } } \
                 messages(last: 2) { nodes { status text cost from } } \
                 ledger(last: 4) { nodes { kind amount } } \
                 account { totalSpent usage { totals { messages charged refunded spent } } } }";

    let abc = t.ask(&keys.clients[0], query).await;

    let contact = |name: &str, address: &str| json!({ "displayName": name, "addresses": [{ "address": address }] });
    let number = json!({ "number": "+12025550149", "status": "ACTIVE" });
    let sender = json!({ "name": "Front desk", "isDefault": true, "channels": ["SMS"], "phoneNumber": number });
    let message = |status: &str, text: &str| json!({ "status": status, "text": text, "cost": 500, "from": "+12025550149" });
    let entry = |kind: &str, amount: i32| json!({ "kind": kind, "amount": amount });
    assert_eq!(
        *abc.data(),
        json!({
            "contacts": { "nodes": [contact("Bob Example", "bob@example.com"),
                                    contact("Ann Example", "+12025550171")] },
            "senders": { "nodes": [sender] },
            "messages": { "nodes": [message("DELIVERED", "Hello from Client ABC"),
                                    message("CANCELED", "See you tomorrow")] },
            "ledger": { "nodes": [entry("CHARGE", -500), entry("REFUND", 500),
                                  entry("CHARGE", -500), entry("NUMBER_FEE", -500)] },
            "account": { "totalSpent": 4500, "usage": { "totals": {
                "messages": 9, "charged": 5000, "refunded": 500, "spent": 4500 } } },
        })
    );
    let main = t
        .ask(
            &keys.main,
            "{ contacts { totalCount } senders { totalCount } \
         subAccount(by: { externalId: \"client-abc\" }) { totalSpent } }",
        )
        .await;
    let nothing = json!({ "totalCount": 0 });
    let expected = json!({ "contacts": nothing, "senders": nothing,
                           "subAccount": { "totalSpent": 4500 } });
    assert_eq!(*main.data(), expected);
}
