//! The phone number of a sender. Messages are sent from the number while it is ACTIVE and belongs to the sender's
//! account. The number cannot be released or transferred while a sender uses it or a waiting message needs it.

use std::sync::Arc;

use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup, TestApp, UNKNOWN_IDS, text};

const NUMBER: &str = "+12025550101";

/// Adds this line to the inventory, buys the line's number, and returns the phone number's id.
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

/// Sends a message. Returns the message's id and `from`.
async fn sent(t: &TestApp, key: &str, input: Value) -> (String, Value) {
    let query = "mutation($input: SendMessageInput!) { sendMessage(input: $input) \
                 { message { id from } errors { code message field } } }";
    let answer = t.ask_with(key, query, json!({ "input": input })).await;
    assert_eq!(answer.refusals(), [""; 0], "{input}");
    let message = &answer.data()["sendMessage"]["message"];
    (text(&message["id"]), message["from"].clone())
}

/// Returns the channels and the phone number of a sender.
async fn sender(t: &TestApp, key: &str, id: &str) -> Value {
    let query = format!("{{ sender(id: \"{id}\") {{ channels phoneNumber {{ id number }} }} }}");
    t.ask(key, &query).await.data()["sender"].clone()
}

/// Returns the `from` and the sender of a message.
async fn origin(t: &TestApp, key: &str, id: &str) -> Value {
    let query = format!("{{ message(id: \"{id}\") {{ from sender {{ id }} }} }}");
    t.ask(key, &query).await.data()["message"].clone()
}

/// Returns the errors of the only root field.
fn errors_of(answer: &Answer) -> Value {
    let payload = answer.data().as_object().and_then(|data| data.values().next());
    payload.expect("a field")["errors"].clone()
}

fn error(code: &str, message: &str, field: &[&str]) -> Value {
    json!([{ "code": code, "message": message, "field": field }])
}

const IN_USE: &str = "A sender uses the number. Remove it from the sender first.";
const WAITED_FOR: &str =
    "A message from the number is waiting for delivery. Cancel it, or try again later.";
const USED_BY_ITS_ACCOUNT: &str = "The number is in use. Set detach: true to transfer it anyway.";

/// Messages on the phone number's channels are sent from the number while its month is paid. If the sender has a
/// `whatsapp`, that takes precedence on WhatsApp. The test covers both environments, contacts and templates.
#[db_test]
async fn messages_are_sent_from_the_phone_number_of_their_sender(t: &TestApp) {
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
    // A message is accepted even if the default sender does not support the channel.
    assert_eq!(sent(t, &sub.key, sms).await.1, json!(null));
    t.execute("UPDATE phone_number SET status = 'ACTIVE', suspended_at = NULL").await;

    let taken = update(t, &sub.key, &id, json!({ "phoneNumberId": null })).await;
    let expected = json!({ "channels": ["WHATSAPP"], "phoneNumber": null });
    assert_eq!(taken.data()["updateSender"]["sender"], expected);
    let back = t.ask(&sub.key, "{ phoneNumbers { nodes { sender { id } } } }").await;
    assert_eq!(back.data()["phoneNumbers"]["nodes"], json!([{ "sender": null }]));
}

#[db_test]
async fn a_sender_uses_only_an_unused_phone_number_of_its_own_account(t: &TestApp) {
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
    let message = "Another sender uses the number. Remove it from that sender first.";
    let in_use = error("NUMBER_IN_USE", message, field);
    for (id, expected) in [
        (foreign.as_str(), &unknown),
        (released.as_str(), &unknown),
        (UNKNOWN_IDS[0], &unknown),
        (UNKNOWN_IDS[1], &unknown),
        ("", &unknown),
        (number.as_str(), &in_use),
    ] {
        let input = json!({ "phoneNumberId": id });
        assert_eq!(&errors_of(&t.create_sender(&sub.key, input.clone()).await), expected, "{id:?}");
        assert_eq!(&errors_of(&update(t, &sub.key, &second, input).await), expected, "{id:?}");
    }
    assert_eq!(t.everything().await, before);
    // The update may set the phone number that the sender already has.
    let again = update(t, &sub.key, &first, json!({ "phoneNumberId": number })).await;
    assert_eq!(again.refusals(), [""; 0]);
}

/// A number in the inventory must be set with `phoneNumberId` instead, because the server knows which account has the
/// number.
#[db_test]
async fn a_number_of_the_inventory_cannot_be_set_as_whatsapp(t: &TestApp) {
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
        let message = "The WhatsApp number is in this server's inventory. Buy it, and set phoneNumberId instead of whatsapp.";
        let refused = error("WHATSAPP_INVALID", message, &["input", "whatsapp"]);
        assert_eq!(errors_of(&t.create_sender(key, input.clone()).await), refused, "{number}");
        if key == &sub.key {
            assert_eq!(errors_of(&update(t, key, &id, input).await), refused, "{number}");
        }
    }
    assert_eq!(t.everything().await, before);

    // After the sender's number has been added to the inventory, messages are no longer sent from it.
    let by = json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Hi", "senderId": id });
    let (message, from) = sent(t, &sub.key, by).await;
    assert_eq!(from, "+12025550199");
    t.stock("+12025550199,US,LOCAL,SMS WHATSAPP,0,0\n").await;
    t.deliver().await;
    assert_eq!(origin(t, &sub.key, &message).await, json!({ "from": null, "sender": null }));
    assert_eq!(*t.carrier.sent_from.lock().expect("the record"), [None]);
}

/// After the number is detached from its sender, the number is no longer in use.
#[db_test]
async fn a_phone_number_in_use_is_neither_released_nor_transferred(t: &TestApp) {
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

    // The number is bought again, and then transferred by the main account.
    let bought = t.purchase(&sub.key, json!({ "number": NUMBER })).await;
    let number = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    let given = update(t, &sub.key, &id, json!({ "phoneNumberId": number })).await;
    assert_eq!(given.refusals(), [""; 0]);
    let (from_number, _) = sent(t, &sub.key, later).await;
    let email = json!({ "to": "ada@example.com", "text": "Hi", "sendAt": "2026-03-17T12:00:00Z" });
    let (from_email, _) = sent(t, &sub.key, email).await;
    let moved = transfer(t, &team.key, &number, to(true)).await;
    // The main account does not see the senders.
    let expected = json!({ "phoneNumber": { "number": NUMBER, "sender": null }, "errors": [] });
    assert_eq!(moved.data()["transferPhoneNumber"], expected);

    let expected = json!({ "channels": ["EMAIL"], "phoneNumber": null });
    assert_eq!(sender(t, &sub.key, &id).await, expected);
    let kept = json!({ "from": "a@example.com", "sender": { "id": id } });
    assert_eq!(origin(t, &sub.key, &from_email).await, kept);
    // The very next message is sent without the number.
    let sms = json!({ "to": "+12025550123", "text": "Hi" });
    assert_eq!(sent(t, &sub.key, sms.clone()).await.1, json!(null));
    t.sender(&other.key, json!({ "phoneNumberId": number })).await;
    assert_eq!(sent(t, &other.key, sms).await.1, NUMBER);
    t.step(TimeDelta::days(1));
    t.deliver().await;
    let mut submitted_from = t.carrier.sent_from.lock().expect("the record").clone();
    submitted_from.sort();
    let some = |from: &str| Some(from.to_owned());
    assert_eq!(submitted_from, [None, None, some(NUMBER), some("a@example.com")]);
    let without = json!({ "from": null, "sender": null });
    assert_eq!(origin(t, &sub.key, &from_number).await, without);
}

/// After the number is suspended, waiting messages are sent without a sender.
#[db_test]
async fn an_unpaid_phone_number_is_no_longer_used_by_its_sender(t: &TestApp) {
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
    // The very next message is sent without the number.
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

/// Either one of the senders gets the number, or the number is released.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_senders_one_gets_the_phone_number(t: &Arc<TestApp>) {
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
