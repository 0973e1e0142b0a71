//! Isolation: what belongs to another team, a sibling or another environment is neither returned nor
//! changed, and its ids answer exactly as ids that nobody has.

use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Database, NOBODYS_IDS, Postgres, Sqlite, TestApp, TestSubAccount, TestTeam, text,
};

/// A team with two sub-accounts; each account sent one LIVE message and has one contact and one sender.
struct House {
    team: TestTeam,
    subs: [TestSubAccount; 2],
    /// What the main account, the first and the second sub-account sent.
    messages: [String; 3],
    /// Ids of the contact and of its address, of each in the same order.
    contacts: [[String; 2]; 3],
    /// Ids of the phone numbers of each in the same order.
    numbers: [String; 3],
    /// Ids of the templates, of each in the same order.
    templates: [String; 3],
    /// Its sender's id, of each in the same order.
    senders: [String; 3],
}

/// Every query and mutation that takes the id of a contact or of an address.
const WITH_A_CONTACT: [&str; 8] = [
    "query($id: ID!) { contact(id: $id) { id displayName addresses { address } } }",
    "mutation($id: ID!) { updateContact(id: $id, input: { displayName: \"Mine\" }) \
     { contact { id } errors { code message field } } }",
    "mutation($id: ID!) { deleteContact(id: $id) \
     { contactId messagesErased errors { code message field } } }",
    "mutation($id: ID!) { addContactAddress(contactId: $id, input: { address: \"mine@example.com\" }) \
     { contact { id } errors { code message field } } }",
    "mutation($id: ID!) { updateContactAddress(id: $id, input: { label: \"mine\" }) \
     { contact { id } errors { code message field } } }",
    "mutation($id: ID!) { removeContactAddress(id: $id) \
     { contact { id } errors { code message field } } }",
    "mutation($id: ID!) { mergeContacts(input: { keepId: $id, mergeId: \"OWN\" }) \
     { contact { id } errors { code message field } } }",
    "mutation($id: ID!) { mergeContacts(input: { keepId: \"OWN\", mergeId: $id }) \
     { contact { id } errors { code message field } } }",
];
/// Every query and mutation of an account that takes the id of a phone number.
const WITH_A_NUMBER: [&str; 5] = [
    "query($id: ID!) { phoneNumber(id: $id) { id number name } }",
    "mutation($id: ID!) { updatePhoneNumber(id: $id, input: { name: \"Mine\" }) \
     { phoneNumber { id } errors { code message field } } }",
    "mutation($id: ID!) { releasePhoneNumber(id: $id) \
     { phoneNumber { id } errors { code message field } } }",
    "mutation($id: ID!) { createSender(input: { name: \"Mine\", phoneNumberId: $id }) \
     { sender { id } errors { code message field } } }",
    "mutation($id: ID!) { updateSender(id: \"OWN\", input: { phoneNumberId: $id }) \
     { sender { id } errors { code message field } } }",
];
/// Every query and mutation that takes the id of a sender.
const WITH_A_SENDER: [&str; 6] = [
    "query($id: ID!) { sender(id: $id) { id name telegram } }",
    "mutation($id: ID!) { updateSender(id: $id, input: { name: \"Mine\" }) \
     { sender { id } errors { code message field } } }",
    "mutation($id: ID!) { deleteSender(id: $id) { senderId errors { code message field } } }",
    "mutation($id: ID!) { sendMessage(input: { to: \"42\", channel: TELEGRAM, text: \"Hi\", \
     senderId: $id }) { message { id } errors { code message field } } }",
    "mutation($id: ID!) { sendMessages(input: [{ to: \"42\", channel: TELEGRAM, text: \"Hi\", \
     senderId: $id }]) { message { id } errors { code message field } } }",
    "query($id: ID!) { messageQuote(input: { to: \"42\", channel: TELEGRAM, text: \"Hi\", \
     senderId: $id }) { cost errors { code message field } } }",
];
/// Every query and mutation that takes the id of a contact or of a template in order to send.
const WITH_A_SOURCE: [&str; 4] = [
    "mutation($id: ID!) { sendMessage(input: { contactId: $id, text: \"Hi\" }) \
     { message { id } errors { code message field } } }",
    "query($id: ID!) { messageQuote(input: { contactId: $id, text: \"Hi\" }) \
     { cost errors { code message field } } }",
    "mutation($id: ID!) { sendMessages(input: [{ to: \"+12025550123\", templateId: $id }]) \
     { message { id } errors { code message field } } }",
    "query($id: ID!) { messageQuote(input: { to: \"+12025550123\", templateId: $id }) \
     { cost errors { code message field } } }",
];
/// Every query and mutation that takes the id of a template.
const WITH_A_TEMPLATE: [&str; 4] = [
    "query($id: ID!) { template(id: $id) { id name bodies { text } } }",
    "query($id: ID!) { templatePreview(id: $id) { channel text } }",
    "mutation($id: ID!) { updateTemplate(id: $id, input: { name: \"Mine\" }) \
     { template { id } errors { code message field } } }",
    "mutation($id: ID!) { deleteTemplate(id: $id) { templateId errors { code message field } } }",
];
const CANCEL: &str = "mutation($id: ID!) { cancelMessage(id: $id) \
                      { message { id } errors { code message field } } }";

async fn send(t: &TestApp, key: &str, to: &str) -> String {
    let answer = t.send(key, json!({ "to": to, "text": "Hello" })).await;
    text(&answer.data()["sendMessage"]["message"]["id"])
}

async fn house(t: &TestApp, name: &str) -> House {
    let team = t.team(1000).await;
    let first = json!({ "name": name, "externalId": format!("{name}-1") });
    let second = json!({ "name": name, "externalId": format!("{name}-2") });
    let subs = [t.sub_account(&team, first).await, t.sub_account(&team, second).await];
    let messages = [
        send(t, &team.key, "+12025550120").await,
        send(t, &subs[0].key, "+12025550121").await,
        send(t, &subs[1].key, "+12025550122").await,
    ];
    let mut contacts = Vec::new();
    for (key, to) in [
        (&team.key, "+12025550120"),
        (&subs[0].key, "+12025550121"),
        (&subs[1].key, "+12025550122"),
    ] {
        let (id, addresses) = t.contact(key, &[to]).await;
        contacts.push([id, addresses[0].clone()]);
    }
    let contacts = contacts.try_into().expect("three contacts");
    let mut numbers = Vec::new();
    for key in [&team.key, &subs[0].key, &subs[1].key] {
        // It costs nothing, so that money is of messages alone.
        let number = 5_550_100 + t.number("SELECT COUNT(*) FROM inventory_number").await;
        let number = format!("+1202{number}");
        t.stock(&format!("{number},US,LOCAL,SMS,0,0\n")).await;
        let bought = t.purchase(key, json!({ "number": number })).await;
        numbers.push(text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]));
    }
    let numbers = numbers.try_into().expect("three numbers");
    let mut templates = Vec::new();
    for key in [&team.key, &subs[0].key, &subs[1].key] {
        let bodies = json!([{ "channel": "SMS", "text": "Hi" }]);
        templates.push(t.template(key, bodies, json!([])).await);
    }
    let templates = templates.try_into().expect("three templates");
    let mut senders = Vec::new();
    for key in [&team.key, &subs[0].key, &subs[1].key] {
        senders.push(t.sender(key, json!({ "name": name, "telegram": "acme_bot" })).await);
    }
    let senders = senders.try_into().expect("three senders");
    House { team, subs, messages, contacts, numbers, templates, senders }
}

/// Every id that a key of this house could show: the team's, accounts', keys', messages', entries'.
async fn ids_of(t: &TestApp, house: &House) -> Vec<String> {
    let mut ids = vec![house.team.id.clone(), house.team.main_account_id.clone()];
    ids.extend(house.subs.iter().flat_map(|sub| [sub.id.clone(), sub.key_id.clone()]));
    ids.extend(house.messages.iter().cloned());
    ids.extend(house.contacts.iter().flatten().cloned());
    ids.extend(house.numbers.iter().cloned());
    ids.extend(house.templates.iter().cloned());
    ids.extend(house.senders.iter().cloned());
    ids.push(own_key_id(t, &house.team.key).await);
    let ledger = t.ask(&house.team.key, "{ ledger { nodes { id } } }").await;
    let entries = ledger.data()["ledger"]["nodes"].as_array().expect("a list of nodes");
    ids.extend(entries.iter().map(|entry| text(&entry["id"])));
    ids
}

async fn own_key_id(t: &TestApp, key: &str) -> String {
    text(&t.ask(key, "{ viewer { apiKey { id } } }").await.data()["viewer"]["apiKey"]["id"])
}

/// Asks with every id and expects the answer that nobody's ids get, and nothing changed.
async fn assert_unknown(t: &TestApp, key: &str, query: &str, ids: &[String]) {
    let before = t.everything().await;
    let nobody = t.ask_with(key, query, json!({ "id": NOBODYS_IDS[0] })).await;
    assert!(nobody.data().is_object(), "{query}");
    let odd = [NOBODYS_IDS[1], "", " ", "null", "%", "' OR 1 = 1 --"].map(str::to_owned);

    for id in ids.iter().chain(&odd) {
        let answer = t.ask_with(key, query, json!({ "id": id })).await;
        assert_eq!(answer.status, nobody.status, "{query} with {id:?}");
        assert_eq!(answer.body, nobody.body, "{query} with {id:?}");
    }
    assert_eq!(t.everything().await, before, "{query}");
}

/// Every query and mutation of a main account that takes the id of an account.
fn with_an_account(by: &str) -> Vec<String> {
    let account = format!("account: {{ {by}: $id }}");
    [
        format!("query($id: T) {{ subAccount(by: {{ {by}: $id }}) {{ id }} }}"),
        format!(
            "query($id: T) {{ ledger(filter: {{ {account} }}) {{ totalCount nodes {{ id }} }} }}"
        ),
        format!(
            "query($id: T) {{ team {{ ledger(filter: {{ {account} }}) {{ nodes {{ id }} }} }} }}"
        ),
        format!(
            "query($id: T) {{ auditLog(filter: {{ {account} }}) {{ totalCount nodes {{ id }} }} }}"
        ),
        format!(
            "query($id: T) {{ team {{ auditLog(filter: {{ {account} }}) {{ nodes {{ id }} }} }} }}"
        ),
        format!(
            "mutation($id: T) {{ updateSubAccount({account}, input: {{ name: \"Mine\" }}) \
             {{ account {{ id }} errors {{ code message field }} }} }}"
        ),
        format!(
            "mutation($id: T) {{ suspendSubAccount({account}) \
             {{ account {{ id }} errors {{ code message field }} }} }}"
        ),
        format!(
            "mutation($id: T) {{ reactivateSubAccount({account}) \
             {{ account {{ id }} errors {{ code message field }} }} }}"
        ),
        format!(
            "mutation($id: T) {{ deactivateSubAccount({account}) \
             {{ account {{ id }} keysRevoked errors {{ code message field }} }} }}"
        ),
        format!(
            "mutation($id: T) {{ createApiKey({account}, input: {{ name: \"Mine\" }}) \
             {{ apiKey {{ id }} plainKey errors {{ code message field }} }} }}"
        ),
    ]
    .map(|query| query.replace("$id: T", if by == "id" { "$id: ID!" } else { "$id: String!" }))
    .to_vec()
}

/// C1, C6, R3: another team's ids are nobody's ids to a main account, whatever they are the id of.
#[rstest]
#[tokio::test]
async fn the_ids_of_another_team_are_nobodys(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
    let mut ids = ids_of(&t, &foreign).await;
    ids.push(own_key_id(&t, &t.operator).await);
    // Ids of its own that are none of an account, a key or a message.
    ids.push(own.team.id.clone());

    for query in with_an_account("id") {
        assert_unknown(&t, &own.team.key, &query, &ids).await;
    }
    let external_ids = ["foreign-1", "foreign-2", "own-3", "OWN-1"].map(str::to_owned);
    for query in with_an_account("externalId") {
        assert_unknown(&t, &own.team.key, &query, &external_ids).await;
    }
    for query in [
        "query($id: ID!) { message(id: $id) { id } }",
        CANCEL,
        "mutation($id: ID!) { updateApiKey(id: $id, input: { name: \"Mine\" }) \
         { apiKey { id } errors { code message field } } }",
        "mutation($id: ID!) { rotateApiKey(id: $id) { apiKey { id } plainKey \
         errors { code message field } } }",
        "mutation($id: ID!) { revokeApiKey(id: $id) { apiKey { id } errors { code message field } } }",
        "mutation($id: ID!) { transferPhoneNumber(id: $id, input: { to: { externalId: \"own-1\" } }) \
         { phoneNumber { id } errors { code message field } } }",
    ] {
        assert_unknown(&t, &own.team.key, query, &ids).await;
    }
    t.close().await;
}

/// C1, C6, R3: to a sub-account the messages of its sibling, its main account and other teams are
/// nobody's; a recipient of theirs is not found either.
#[rstest]
#[tokio::test]
async fn a_siblings_messages_are_nobodys(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
    let mut ids = ids_of(&t, &foreign).await;
    ids.extend([own.messages[0].clone(), own.messages[2].clone(), own.subs[0].id.clone()]);
    let key = &own.subs[0].key;

    assert_unknown(&t, key, "query($id: ID!) { message(id: $id) { id to text } }", &ids).await;
    assert_unknown(&t, key, CANCEL, &ids).await;
    let to = ["+12025550120", "+12025550122", "a@example.com"].map(str::to_owned);
    let by_recipient = "query($id: String!) { messages(filter: { to: $id }) { totalCount } }";
    assert_unknown(&t, key, by_recipient, &to).await;
    t.close().await;
}

/// R3: the contacts of its sub-accounts, and to them its own and each other's, are nobody's to a main account;
/// another team's likewise.
#[rstest]
#[tokio::test]
async fn anothers_contacts_are_nobodys(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
    t.deliver().await;

    for (at, key) in [(0, &own.team.key), (1, &own.subs[0].key)] {
        let mut ids = ids_of(&t, &foreign).await;
        let others = own.contacts.iter().enumerate().filter(|(other, _)| *other != at);
        ids.extend(others.flat_map(|(_, ids)| ids.clone()));
        ids.push(own.messages[at].clone());
        for query in WITH_A_CONTACT {
            assert_unknown(&t, key, &query.replace("OWN", &own.contacts[at][0]), &ids).await;
        }
        let list = t.ask(key, "{ contacts { totalCount nodes { id addresses { id } } } }").await;
        let [id, address] = &own.contacts[at];
        let node = json!({ "id": id, "addresses": [{ "id": address }] });
        assert_eq!(list.data()["contacts"], json!({ "totalCount": 1, "nodes": [node] }));
    }
    let text = ["0121", "0122", "\0"].map(str::to_owned);
    let by_text = "query($id: String!) { contacts(filter: { search: $id }) { totalCount } }";
    let nobody = t.ask_with(&own.team.key, by_text, json!({ "id": "nobody" })).await;
    for text in text {
        let found = t.ask_with(&own.team.key, by_text, json!({ "id": text })).await;
        assert_eq!(found.body, nobody.body, "{text:?}");
    }
    t.close().await;
}

/// R3: the phone numbers of its sub-accounts, and to them its own and each other's, are nobody's to
/// a main account but for a transfer; another team's likewise.
#[rstest]
#[tokio::test]
async fn anothers_phone_numbers_are_nobodys(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
    t.deliver().await;

    for (at, key) in [(0, &own.team.key), (1, &own.subs[0].key)] {
        let mut ids = ids_of(&t, &foreign).await;
        let others = own.numbers.iter().enumerate().filter(|(other, _)| *other != at);
        ids.extend(others.map(|(_, id)| id.clone()));
        ids.push(own.messages[at].clone());
        for query in WITH_A_NUMBER {
            assert_unknown(&t, key, &query.replace("OWN", &own.senders[at]), &ids).await;
        }
        let list = t.ask(key, "{ phoneNumbers { totalCount nodes { id } } }").await;
        let expected = json!({ "totalCount": 1, "nodes": [{ "id": own.numbers[at] }] });
        assert_eq!(list.data()["phoneNumbers"], expected);
    }
    // A number's new account, and nobody else, is where a transfer finds its accounts too.
    let to = "mutation($id: ID!) { transferPhoneNumber(id: \"OWN\", input: { to: { id: $id } }) \
              { phoneNumber { id } errors { code message field } } }";
    let ids = ids_of(&t, &foreign).await;
    assert_unknown(&t, &own.team.key, &to.replace("OWN", &own.numbers[1]), &ids).await;
    let to = to.replace("$id: ID!", "$id: String!").replace("{ id: $id }", "{ externalId: $id }");
    let external_ids = ["foreign-1", "OWN-1", "own-1\0"].map(str::to_owned);
    assert_unknown(
        &t,
        &own.team.key,
        &to.replace("OWN\"", &format!("{}\"", own.numbers[1])),
        &external_ids,
    )
    .await;
    t.close().await;
}

/// R3: so are the templates of its sub-accounts; and neither a contact nor a template of another
/// account is one to send to or from.
#[rstest]
#[tokio::test]
async fn anothers_templates_are_nobodys(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);

    for (at, key) in [(0, &own.team.key), (1, &own.subs[0].key)] {
        let mut ids = ids_of(&t, &foreign).await;
        for other in (0..3).filter(|other| *other != at) {
            ids.extend(own.contacts[other].clone());
            ids.push(own.templates[other].clone());
        }
        // Its own, of another kind; its contact alone is one to send to.
        ids.extend([own.messages[at].clone(), own.contacts[at][1].clone()]);
        for query in WITH_A_TEMPLATE.iter().chain(&WITH_A_SOURCE) {
            assert_unknown(&t, key, query, &ids).await;
        }
        let list = t.ask(key, "{ templates { totalCount nodes { id } } }").await;
        let expected = json!({ "totalCount": 1, "nodes": [{ "id": own.templates[at] }] });
        assert_eq!(list.data()["templates"], expected);
    }
    t.close().await;
}

/// R3: so are their senders.
#[rstest]
#[tokio::test]
async fn anothers_senders_are_nobodys(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);

    for (at, key) in [(0, &own.team.key), (1, &own.subs[0].key)] {
        let mut ids = ids_of(&t, &foreign).await;
        ids.extend((0..3).filter(|other| *other != at).map(|other| own.senders[other].clone()));
        ids.push(own.messages[at].clone());
        for query in WITH_A_SENDER {
            assert_unknown(&t, key, query, &ids).await;
        }
        let list = t.ask(key, "{ senders { totalCount nodes { id } } }").await;
        let expected = json!({ "totalCount": 1, "nodes": [{ "id": own.senders[at] }] });
        assert_eq!(list.data()["senders"], expected);
    }
    t.close().await;
}

/// C1, C6, C16, C18, R3: messages, ledger, usage and totals of a sub-account are its own.
#[rstest]
#[tokio::test]
async fn each_sub_account_sees_its_own_work_only(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let house = house(&t, "own").await;
    send(&t, &house.subs[1].key, "+12025550123").await;
    let query = "{ messages { totalCount nodes { to } } ledger { totalCount nodes { account { id } } } \
                 account { id totalSpent usage { totals { messages spent } } } }";

    for (sub, to) in [
        (&house.subs[0], vec!["+12025550121"]),
        (&house.subs[1], vec!["+12025550123", "+12025550122"]),
    ] {
        let count = to.len();
        let messages: Vec<Value> = to.iter().map(|to| json!({ "to": to })).collect();
        let entries = vec![json!({ "account": { "id": sub.id } }); count];
        let usage = json!({ "totals": { "messages": count, "spent": count } });
        let expected = json!({
            "messages": { "totalCount": count, "nodes": messages },
            "ledger": { "totalCount": count, "nodes": entries },
            "account": { "id": sub.id, "totalSpent": count, "usage": usage },
        });
        assert_eq!(*t.ask(&sub.key, query).await.data(), expected);
    }
    t.close().await;
}

/// C11, R3: the main account sees of a sub-account its money, not its messages.
#[rstest]
#[tokio::test]
async fn the_main_account_does_not_see_its_sub_accounts_messages(
    #[values(Sqlite, Postgres)] database: Database,
) {
    let Some(t) = TestApp::start(database).await else { return };
    let house = house(&t, "own").await;

    let own = t.ask(&house.team.key, "{ messages { totalCount nodes { id } } }").await;
    let expected = json!({ "totalCount": 1, "nodes": [{ "id": house.messages[0] }] });
    assert_eq!(own.data()["messages"], expected);
    for query in ["query($id: ID!) { message(id: $id) { id } }", CANCEL] {
        assert_unknown(&t, &house.team.key, query, &house.messages[1..]).await;
    }
    let query =
        "{ ledger(filter: { kind: [CHARGE] }) { nodes { messageId message { id text } } } }";
    let ledger = t.ask(&house.team.key, query).await;
    let [main, first, second] = &house.messages;
    let shown = json!({ "id": main, "text": "Hello" });
    let entries = [(second, json!(null)), (first, json!(null)), (main, shown)];
    let entries = entries.map(|(id, message)| json!({ "messageId": id, "message": message }));
    assert_eq!(ledger.data()["ledger"]["nodes"], json!(entries));
    t.close().await;
}

/// R15: LIVE and TEST keys of one account do not see each other's messages.
#[rstest]
#[tokio::test]
async fn environments_do_not_see_each_other(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let house = house(&t, "own").await;
    let message = "query($id: ID!) { message(id: $id) { id environment } }";

    for (live, account_id, live_message) in [
        (&house.team.key, &house.team.main_account_id, &house.messages[0]),
        (&house.subs[0].key, &house.subs[0].id, &house.messages[1]),
    ] {
        let test = t.api_key(&house.team, account_id, "TEST").await;
        let test_message = send(&t, &test, "+12025550124").await;

        for (key, own, other, environment) in [
            (live, live_message, &test_message, "LIVE"),
            (&test, &test_message, live_message, "TEST"),
        ] {
            let shown = json!({ "id": own, "environment": environment });
            let found = t.ask_with(key, message, json!({ "id": own })).await;
            assert_eq!(found.data()["message"], shown);
            assert_unknown(&t, key, message, std::slice::from_ref(other)).await;
            let list = t.ask(key, "{ messages { totalCount nodes { id environment } } }").await;
            let expected = json!({ "totalCount": 1, "nodes": [shown] });
            assert_eq!(list.data()["messages"], expected);
        }
    }
    t.close().await;
}

/// C4, C17, R2: teams list and count their own accounts, keys and usage only.
#[rstest]
#[tokio::test]
async fn lists_stay_within_their_team(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let houses = [house(&t, "one").await, house(&t, "two").await];
    let query = "{ subAccounts(filter: { search: \"o\" }) { totalCount nodes { id apiKeys \
                 { totalCount nodes { id } } } } ledger { totalCount } \
                 team { id usage(groupBy: [ACCOUNT]) { totals { messages } buckets { account { id } } } } }";

    for house in &houses {
        let answer = t.ask(&house.team.key, query).await;
        let node = |sub: &TestSubAccount| {
            let keys = json!({ "totalCount": 1, "nodes": [{ "id": sub.key_id }] });
            json!({ "id": sub.id, "apiKeys": keys })
        };
        let nodes = [node(&house.subs[1]), node(&house.subs[0])];
        let accounts = [&house.team.main_account_id, &house.subs[0].id, &house.subs[1].id];
        let buckets = accounts.map(|id| json!({ "account": { "id": id } }));
        let usage = json!({ "totals": { "messages": 3 }, "buckets": buckets });
        assert_eq!(
            *answer.data(),
            json!({
                "subAccounts": { "totalCount": 2, "nodes": nodes }, "ledger": { "totalCount": 4 },
                "team": { "id": house.team.id, "usage": usage },
            })
        );
    }
    t.close().await;
}

/// R3: text that no row can hold, for PostgreSQL keeps no NUL, finds nothing like any other.
#[rstest]
#[tokio::test]
async fn text_that_no_row_can_hold_finds_nothing(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let house = house(&t, "own").await;
    let before = t.everything().await;
    let mut queries = with_an_account("externalId");
    for arguments in [
        "messages(filter: { to: $id })",
        "subAccounts(filter: { search: $id })",
        "subAccounts(filter: { metadata: { key: $id, value: \"gold\" } })",
        "subAccounts(filter: { metadata: { key: \"plan\", value: $id } })",
    ] {
        queries.push(format!("query($id: String!) {{ {arguments} {{ totalCount }} }}"));
    }
    queries.extend(with_an_account("id"));

    let mut differing = Vec::new();
    for query in &queries {
        let nobody = t.ask_with(&house.team.key, query, json!({ "id": "nobody's" })).await;
        for text in ["\0", "own\0", "own-1\0"] {
            let answer = t.ask_with(&house.team.key, query, json!({ "id": text })).await;
            if answer.body != nobody.body {
                differing.push((query, text, answer.body));
            }
        }
    }

    assert_eq!(differing, []);
    assert_eq!(t.everything().await, before);
    t.close().await;
}
