//! A sender's phone number: an identity while its account has it and it is ACTIVE, and held fast
//! while a sender has it or a message waits to go out from it.

use std::sync::Arc;

use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, NOBODYS_IDS, Setup, TestApp, text};

const NUMBER: &str = "+12025550101";

/// Buys a number out of this line of the inventory: its id.
async fn buy(t: &TestApp, key: &str, line: &str) -> String {
    t.stock(&format!("{line}\n")).await;
    let number = line.split(',').next().expect("a number");
    let bought = t.purchase(key, json!({ "number": number })).await;
    assert_eq!(bought.refusals(), [""; 0]);
    text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"])
}

async fn update(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = "mutation($id: ID!, $input: UpdateSenderInput!) \
                 { updateSender(id: $id, input: $input) { sender { channels phoneNumber { number } } errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id, "input": input })).await
}

async fn release(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = "mutation($id: ID!) { releasePhoneNumber(id: $id) \
                 { phoneNumber { status } errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id })).await
}

async fn transfer(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = "mutation($id: ID!, $input: TransferPhoneNumberInput!) \
                 { transferPhoneNumber(id: $id, input: $input) \
                 { phoneNumber { number sender { id } } errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id, "input": input })).await
}

async fn cancel(t: &TestApp, key: &str, id: &str) {
    let query = "mutation($id: ID!) { cancelMessage(id: $id) { errors { code } } }";
    assert_eq!(t.ask_with(key, query, json!({ "id": id })).await.refusals(), [""; 0]);
}

/// Sends, and gives the message's id and what it comes from.
async fn sent(t: &TestApp, key: &str, input: Value) -> (String, Value) {
    let query = "mutation($input: SendMessageInput!) { sendMessage(input: $input) \
                 { message { id from } errors { code message field } } }";
    let answer = t.ask_with(key, query, json!({ "input": input })).await;
    assert_eq!(answer.refusals(), [""; 0], "{input}");
    let message = &answer.data()["sendMessage"]["message"];
    (text(&message["id"]), message["from"].clone())
}

/// What a sender can send on, and its number.
async fn sender(t: &TestApp, key: &str, id: &str) -> Value {
    let query = format!("{{ sender(id: \"{id}\") {{ channels phoneNumber {{ id number }} }} }}");
    t.ask(key, &query).await.data()["sender"].clone()
}

/// What a message comes from, and its sender.
async fn origin(t: &TestApp, key: &str, id: &str) -> Value {
    let query = format!("{{ message(id: \"{id}\") {{ from sender {{ id }} }} }}");
    t.ask(key, &query).await.data()["message"].clone()
}

/// The errors of the only root field.
fn errors_of(answer: &Answer) -> Value {
    let payload = answer.data().as_object().and_then(|data| data.values().next());
    payload.expect("a field")["errors"].clone()
}

fn error(code: &str, message: &str, field: &[&str]) -> Value {
    json!([{ "code": code, "message": message, "field": field }])
}

const IN_USE: &str = "A sender uses the number; take it away from the sender first.";
const WAITED_FOR: &str =
    "A message waits to go out from the number; cancel it, or try again when it was handed over.";
const USED_BY_ITS_ACCOUNT: &str = "Its account uses the number; transfer it with detach: true.";

/// Messages come from the number on the channels that it is capable of, and WHATSAPP ones from a
/// whatsapp before it; while its month is not paid it is no identity. Both environments, and also
/// to a contact and by a template.
#[db_test]
async fn a_number_is_an_identity(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let number = buy(t, &sub.key, "+12025550101,US,LOCAL,SMS WHATSAPP,0,0").await;
    let id = t.sender(&sub.key, json!({ "phoneNumberId": number })).await;
    let sms = json!({ "to": "+12025550123", "text": "Hi" });
    let by = |channel: &str| {
        let to = "+12025550123";
        json!({ "to": to, "channel": channel, "text": "Hi", "senderId": id })
    };

    let shown = json!({ "id": number, "number": NUMBER });
    let expected = json!({ "channels": ["SMS", "WHATSAPP"], "phoneNumber": shown });
    assert_eq!(sender(t, &sub.key, &id).await, expected);
    let back = t.ask(&sub.key, "{ phoneNumbers { nodes { sender { id } } } }").await;
    assert_eq!(back.data()["phoneNumbers"]["nodes"], json!([{ "sender": { "id": id } }]));
    for key in [&sub.key, &test_key] {
        assert_eq!(sent(t, key, sms.clone()).await.1, NUMBER);
        assert_eq!(sent(t, key, by("SMS")).await.1, NUMBER);
        assert_eq!(sent(t, key, by("WHATSAPP")).await.1, NUMBER);
    }
    let (contact, _) = t.contact(&sub.key, &["+12025550123"]).await;
    let bodies = json!([{ "channel": "SMS", "text": "Hello" }]);
    let template = t.template(&sub.key, bodies, json!([])).await;
    let rendered = json!({ "contactId": contact, "templateId": template });
    assert_eq!(sent(t, &sub.key, rendered).await.1, NUMBER);

    let own = update(t, &sub.key, &id, json!({ "whatsapp": "+12025550199" })).await;
    assert_eq!(own.refusals(), [""; 0]);
    assert_eq!(sent(t, &sub.key, by("WHATSAPP")).await.1, "+12025550199");
    assert_eq!(sent(t, &sub.key, by("SMS")).await.1, NUMBER);

    t.deliver().await;
    t.execute("UPDATE phone_number SET status = 'SUSPENDED', suspended_at = renews_at").await;
    let expected = json!({ "channels": ["WHATSAPP"], "phoneNumber": shown });
    assert_eq!(sender(t, &sub.key, &id).await, expected);
    t.app.senders.forget_all();
    let before = t.everything().await;
    let refused = t.send(&sub.key, by("SMS")).await;
    assert_eq!(refused.refusals(), ["SENDER_UNAVAILABLE"]);
    assert_eq!(t.everything().await, before);
    // The default one need not be able to.
    assert_eq!(sent(t, &sub.key, sms).await.1, json!(null));
    t.execute("UPDATE phone_number SET status = 'ACTIVE', suspended_at = NULL").await;

    let taken = update(t, &sub.key, &id, json!({ "phoneNumberId": null })).await;
    let expected = json!({ "channels": ["WHATSAPP"], "phoneNumber": null });
    assert_eq!(taken.data()["updateSender"]["sender"], expected);
    let back = t.ask(&sub.key, "{ phoneNumbers { nodes { sender { id } } } }").await;
    assert_eq!(back.data()["phoneNumbers"]["nodes"], json!([{ "sender": null }]));
}

/// A number is of its account, which has it still, and of one sender.
#[db_test]
async fn a_number_of_another_is_refused(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let foreign = buy(t, &team.key, "+12025550100,US,LOCAL,SMS,0,0").await;
    let number = buy(t, &sub.key, "+12025550101,US,LOCAL,SMS,0,0").await;
    let released = buy(t, &sub.key, "+12025550102,US,LOCAL,SMS,0,0").await;
    assert_eq!(release(t, &sub.key, &released).await.refusals(), [""; 0]);
    let first = t.sender(&sub.key, json!({ "phoneNumberId": number })).await;
    let second = t.sender(&sub.key, json!({})).await;
    let before = t.everything().await;

    let field = &["input", "phoneNumberId"];
    let unknown = error("NUMBER_NOT_FOUND", "There is no such phone number.", field);
    let message = "Another sender has the number; take it away from that first.";
    let in_use = error("NUMBER_IN_USE", message, field);
    for (id, expected) in [
        (foreign.as_str(), &unknown),
        (released.as_str(), &unknown),
        (NOBODYS_IDS[0], &unknown),
        (NOBODYS_IDS[1], &unknown),
        ("", &unknown),
        (number.as_str(), &in_use),
    ] {
        let input = json!({ "phoneNumberId": id });
        assert_eq!(&errors_of(&t.create_sender(&sub.key, input.clone()).await), expected, "{id:?}");
        assert_eq!(&errors_of(&update(t, &sub.key, &second, input).await), expected, "{id:?}");
    }
    assert_eq!(t.everything().await, before);
    // Its own it may be given again.
    let again = update(t, &sub.key, &first, json!({ "phoneNumberId": number })).await;
    assert_eq!(again.refusals(), [""; 0]);
}

/// A number that is to be had here, or that anybody has, is no sender's own `whatsapp`: whose it is, is known.
#[db_test]
async fn a_number_in_stock_is_no_whatsapp(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    buy(t, &team.key, "+12025550101,US,LOCAL,SMS WHATSAPP,0,0").await;
    t.stock("+12025550102,US,LOCAL,SMS WHATSAPP,0,0\n").await;
    let id = t.sender(&sub.key, json!({ "whatsapp": "+12025550199" })).await;
    let before = t.everything().await;

    for (key, number) in
        [(&sub.key, "+12025550101"), (&sub.key, "+12025550102"), (&team.key, "+12025550101")]
    {
        let input = json!({ "whatsapp": number });
        let message = "The whatsapp is a number that this server sells; give the sender its \
                       phoneNumberId instead, once the account has it.";
        let refused = error("WHATSAPP_INVALID", message, &["input", "whatsapp"]);
        assert_eq!(errors_of(&t.create_sender(key, input.clone()).await), refused, "{number}");
        if key == &sub.key {
            assert_eq!(errors_of(&update(t, key, &id, input).await), refused, "{number}");
        }
    }
    assert_eq!(t.everything().await, before);

    // Stocked later, it is not gone out from any more.
    let by = json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Hi", "senderId": id });
    let (message, from) = sent(t, &sub.key, by).await;
    assert_eq!(from, "+12025550199");
    t.stock("+12025550199,US,LOCAL,SMS WHATSAPP,0,0\n").await;
    t.deliver().await;
    assert_eq!(origin(t, &sub.key, &message).await, json!({ "from": null, "sender": null }));
    assert_eq!(*t.carrier.sent_from.lock().expect("the record"), [None]);
}

/// Neither released nor transferred while a sender has it, or while a message waits to go out from
/// it; detached it goes, and so does what it was used for.
#[db_test]
async fn a_number_in_use_stays(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let other = t.sub_account(&team, json!({})).await;
    let number = buy(t, &sub.key, "+12025550101,US,LOCAL,SMS,0,0").await;
    let input = json!({ "email": "a@example.com", "phoneNumberId": number });
    let id = t.sender(&sub.key, input).await;
    let later = json!({ "to": "+12025550123", "text": "Hi", "sendAt": "2026-03-17T12:00:00Z" });
    let to = |detach: bool| json!({ "to": { "id": other.id }, "detach": detach });

    let is_refused = async |message: &str| {
        let before = t.everything().await;
        let refused = release(t, &sub.key, &number).await;
        assert_eq!(errors_of(&refused), error("NUMBER_IN_USE", message, &["id"]));
        for input in [to(false), json!({ "to": { "id": other.id } })] {
            let refused = transfer(t, &team.key, &number, input).await;
            let expected = error("NUMBER_IN_USE", USED_BY_ITS_ACCOUNT, &["id"]);
            assert_eq!(errors_of(&refused), expected);
        }
        assert_eq!(t.everything().await, before);
    };
    is_refused(IN_USE).await;
    let (message, from) = sent(t, &sub.key, later.clone()).await;
    assert_eq!(from, NUMBER);
    let taken = update(t, &sub.key, &id, json!({ "phoneNumberId": null })).await;
    assert_eq!(taken.refusals(), [""; 0]);
    is_refused(WAITED_FOR).await;
    cancel(t, &sub.key, &message).await;
    let released = release(t, &sub.key, &number).await;
    assert_eq!(released.data()["releasePhoneNumber"]["phoneNumber"]["status"], "RELEASED");

    // Bought again, and taken away by the main account.
    let bought = t.purchase(&sub.key, json!({ "number": NUMBER })).await;
    let number = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    let given = update(t, &sub.key, &id, json!({ "phoneNumberId": number })).await;
    assert_eq!(given.refusals(), [""; 0]);
    let (from_number, _) = sent(t, &sub.key, later).await;
    let email = json!({ "to": "ada@example.com", "text": "Hi", "sendAt": "2026-03-17T12:00:00Z" });
    let (from_email, _) = sent(t, &sub.key, email).await;
    let moved = transfer(t, &team.key, &number, to(true)).await;
    // R3: nothing of the senders is the main account's to see.
    let expected = json!({ "phoneNumber": { "number": NUMBER, "sender": null }, "errors": [] });
    assert_eq!(moved.data()["transferPhoneNumber"], expected);

    let expected = json!({ "channels": ["EMAIL"], "phoneNumber": null });
    assert_eq!(sender(t, &sub.key, &id).await, expected);
    let kept = json!({ "from": "a@example.com", "sender": { "id": id } });
    assert_eq!(origin(t, &sub.key, &from_email).await, kept);
    // The very next send goes by it.
    let sms = json!({ "to": "+12025550123", "text": "Hi" });
    assert_eq!(sent(t, &sub.key, sms.clone()).await.1, json!(null));
    t.sender(&other.key, json!({ "phoneNumberId": number })).await;
    assert_eq!(sent(t, &other.key, sms).await.1, NUMBER);
    t.step(TimeDelta::days(1));
    t.deliver().await;
    let mut handed = t.carrier.sent_from.lock().expect("the record").clone();
    handed.sort();
    let some = |from: &str| Some(from.to_owned());
    assert_eq!(handed, [None, None, some(NUMBER), some("a@example.com")]);
    let without = json!({ "from": null, "sender": null });
    assert_eq!(origin(t, &sub.key, &from_number).await, without);
}

/// A number that goes back to the inventory because its month was not paid is nobody's identity any
/// more; what waited to go out from it goes out without a sender.
#[db_test]
async fn a_number_that_was_not_paid_is_lost(t: &TestApp) {
    let team = t.team(203).await;
    let number = buy(t, &team.key, "+12025550101,US,LOCAL,SMS,0,200").await;
    let id = t.sender(&team.key, json!({ "phoneNumberId": number })).await;
    t.step(TimeDelta::days(30));
    let later = json!({ "to": "+12025550123", "text": "Hi", "sendAt": "2026-04-30T12:00:00Z" });
    let (message, from) = sent(t, &team.key, later).await;
    assert_eq!(from, NUMBER);

    t.step(TimeDelta::days(1));
    t.renew().await;
    let suspended = json!({ "channels": [], "phoneNumber": { "id": number, "number": NUMBER } });
    assert_eq!(sender(t, &team.key, &id).await, suspended);
    // The very next send goes by it.
    let sms = json!({ "to": "+12025550123", "text": "Hi" });
    assert_eq!(sent(t, &team.key, sms).await.1, json!(null));
    let kept = json!({ "from": NUMBER, "sender": { "id": id } });
    assert_eq!(origin(t, &team.key, &message).await, kept);

    t.step(TimeDelta::days(7));
    t.renew().await;
    let lost = json!({ "channels": [], "phoneNumber": null });
    assert_eq!(sender(t, &team.key, &id).await, lost);
    t.step(TimeDelta::days(10));
    t.deliver().await;
    assert_eq!(origin(t, &team.key, &message).await, json!({ "from": null, "sender": null }));
    assert!(t.carrier.sent_from.lock().expect("the record").iter().all(Option::is_none));
}

/// Of several senders that are to have a number at once, one has it; and it is given to a sender or
/// released, not both.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_of_one_sender_in_a_race(t: &Arc<TestApp>) {
    let team = t.team(1000).await;
    let number = buy(t, &team.key, "+12025550101,US,LOCAL,SMS,0,0").await;
    let released = buy(t, &team.key, "+12025550102,US,LOCAL,SMS,0,0").await;
    let processes = t.processes(Setup::default()).await;
    let at_once =
        |number: usize| (Arc::clone(&processes[number % processes.len()]), team.key.clone());

    let made = (0..6).map(|at| {
        let (t, key) = at_once(at);
        let input = json!({ "phoneNumberId": number });
        tokio::spawn(async move { errors_of(&t.create_sender(&key, input).await) })
    });
    let made = join_all(made.collect::<Vec<_>>()).await.into_iter();
    let made: Vec<_> = made.map(|made| made.expect("a sender is made or refused")).collect();
    assert_eq!(made.iter().filter(|errors| **errors == json!([])).count(), 1, "{made:?}");
    let lost = |errors: &&Value| errors[0]["code"] == "NUMBER_IN_USE";
    assert_eq!(made.iter().filter(lost).count(), 5, "{made:?}");

    let used = (0..6).map(|at| {
        let (t, key) = at_once(at);
        let id = released.clone();
        tokio::spawn(async move {
            if at % 2 == 0 {
                errors_of(&release(&t, &key, &id).await)
            } else {
                errors_of(&t.create_sender(&key, json!({ "phoneNumberId": id })).await)
            }
        })
    });
    for used in join_all(used.collect::<Vec<_>>()).await {
        used.expect("it is released, used or refused");
    }
    let both = "SELECT COUNT(*) FROM sender s JOIN phone_number p ON p.id = s.phone_number_id \
                WHERE p.status = 'RELEASED'";
    assert_eq!(processes[0].number(both).await, 0);
    let either = "SELECT (SELECT COUNT(*) FROM sender WHERE phone_number_id IS NOT NULL) \
                  + (SELECT COUNT(*) FROM phone_number WHERE status = 'RELEASED')";
    assert_eq!(processes[0].number(either).await, 2);
}
