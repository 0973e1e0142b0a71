//! The limits on the bytes of content that one call and one account may write.

use db_test::db_test;
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate::{
    domain::{
        Fault,
        account::AccountIds,
        api_key::authentication,
        deadline::Deadline,
        message::{self, NewMessage, Sent},
        write_rate::{BURST_BYTES, CALL_BYTES_MAX},
    },
    http,
};
use uuid::Uuid;

use crate::harness::{Answer, TestApp};

const SEND_MANY: &str = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                         { message { id } errors { code } } }";
/// Maximum size of an e-mail's HTML, in bytes.
const LONG: usize = 100 * 1024;
/// Returns the variables with which [`long_template`] produces `LONG` bytes.
fn parts() -> Value {
    json!({ "part": "x".repeat(LONG / 100) })
}

/// Creates an e-mail template whose output length depends on its variable. Returns the template's id.
async fn long_template(t: &TestApp, key: &str) -> String {
    // The source of the template is shorter than the template's output.
    let bodies = json!([{ "channel": "EMAIL", "html": "{{ part }}".repeat(100) }]);
    t.template(key, bodies, json!([{ "name": "part" }])).await
}

/// Returns the input for an e-mail with this many bytes in each of its parts.
fn email(text: usize, html: usize, subject: usize, metadata: usize) -> Value {
    let frame = json!({ "a": "" }).to_string().len();
    json!({
        "to": "a@example.com", "text": "x".repeat(text), "html": "x".repeat(html),
        "subject": "x".repeat(subject), "metadata": { "a": "x".repeat(metadata - frame) },
    })
}

/// The limit includes text, HTML, subject and metadata, whether they come from the input or from templates. If the
/// content is one byte too large, the whole call is refused.
#[db_test]
async fn all_content_of_a_call_counts(t: &TestApp) {
    let team = t.team(1_000).await;
    let template = long_template(t, &team.key).await;
    let rendered = json!({ "to": "a@example.com", "templateId": template, "variables": parts() });
    let call = async |last: Value| {
        let mut input = vec![rendered.clone(); 20];
        input.push(last);
        t.ask_with(&team.key, SEND_MANY, json!({ "input": input })).await
    };
    let rest = CALL_BYTES_MAX - 20 * LONG;
    let (subject, metadata) = (500, 10_000);
    let half = (rest - subject - metadata) / 2;
    assert_eq!(rest, 2 * half + subject + metadata);

    let before = t.everything().await;
    for more in [
        email(half + 1, half, subject, metadata),
        email(half, half + 1, subject, metadata),
        email(half, half, subject + 1, metadata),
        email(half, half, subject, metadata + 1),
    ] {
        let refused = call(more).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (200, vec!["BAD_USER_INPUT"]));
    }
    assert_eq!(t.everything().await, before);
    // The limit does not include a message that is refused for another reason.
    let refused = call(email(half, half, subject, 17 * 1024)).await;
    assert_eq!(refused.data()["sendMessages"][20]["errors"][0]["code"], "METADATA_INVALID");
    let fits = call(email(half, half, subject, metadata)).await;
    let fits = fits.data()["sendMessages"].as_array().expect("a list").clone();
    assert!(fits.len() == 21 && fits.iter().all(|one| one["errors"] == json!([])));
}

#[db_test]
async fn variables_of_templates_count(t: &TestApp) {
    let team = t.team(1_000).await;
    let caller = authentication::authenticate(&t.app, &team.key).await.expect("the key is read");
    let caller = caller.expect("a key").account().expect("an account's");
    let budget = t.app.memory_budget.of(Some(caller.team_id));
    let send = async |sizes: &[usize]| {
        let messages = sizes.iter().map(|bytes| NewMessage {
            to: Some("a@example.com".to_owned()),
            text: Some("x".repeat(*bytes)),
            ..NewMessage::default()
        });
        let deadline = Deadline::until(Instant::now() + http::REQUEST_DEADLINE);
        message::send_many(&t.app, &caller, messages.collect(), &deadline, &budget).await
    };
    let most = vec![CALL_BYTES_MAX / 32; 32];
    let before = t.everything().await;

    let more = [most.clone(), vec![1]].concat();
    let Err(Fault::BadInput(message)) = send(&more).await else { panic!("it was sent") };
    assert!(message.contains("2 MiB"), "{message}");
    assert_eq!(t.everything().await, before);
    let sent = send(&most).await.expect("it fits");
    assert!(sent.iter().all(|sent| matches!(sent, Sent::Accepted(_))), "{sent:?}");
}

/// Uses up the account's current write rate, except for a few kilobytes.
fn exhaust(t: &TestApp, account_id: &str) {
    let account_id: Uuid = account_id.parse().expect("an id");
    // The id of the account's team is replaced, so that only the account's rate is used up, and not the team's.
    let writer = AccountIds { team_id: Uuid::nil(), account_id };
    let mut piece = usize::try_from(BURST_BYTES).expect("a small number");
    while piece > 4_096 {
        while t.app.writes.take(writer, piece).is_ok() {}
        piece /= 2;
    }
}

/// A refused call changes nothing. Other accounts are not affected, nor are requests that write nothing.
#[db_test]
async fn an_account_over_its_write_rate_is_refused_with_the_time_to_retry(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let long = "x".repeat(LONG);
    let template = long_template(t, &team.key).await;
    let (contact, _) = t.contact(&team.key, &["ada@example.com"]).await;
    let email = json!({ "to": "a@example.com", "text": long, "html": long });
    let metadata = json!({ "a": "x".repeat(16 * 1024 - 8) });
    // Each line is short, because a template's lines have a lower limit.
    let lines = format!("{}\n", "x".repeat(1_023)).repeat(LONG / 1_024);
    let large = json!([{ "channel": "EMAIL", "text": lines, "html": lines }]);
    let send =
        "mutation($input: SendMessageInput!) { sendMessage(input: $input) { errors { code } } }";
    let change_contact = "mutation($id: ID!, $input: UpdateContactInput!) \
                          { updateContact(id: $id, input: $input) { errors { code } } }";
    let change_template = "mutation($id: ID!, $input: UpdateTemplateInput!) \
                           { updateTemplate(id: $id, input: $input) { errors { code } } }";
    let create_contact = "mutation($input: CreateContactInput!) \
                          { createContact(input: $input) { errors { code } } }";
    let create_template = "mutation($input: CreateTemplateInput!) \
                           { createTemplate(input: $input) { errors { code } } }";
    let create_account = "mutation($input: CreateSubAccountInput!) \
                          { createSubAccount(input: $input) { errors { code } } }";
    let change_account = "mutation($id: ID!, $input: UpdateSubAccountInput!) \
                          { updateSubAccount(account: { id: $id }, input: $input) { errors { code } } }";
    let suspend = "mutation($id: ID!, $input: SuspendSubAccountInput!) \
                   { suspendSubAccount(account: { id: $id }, input: $input) { errors { code } } }";
    let add_opt_out =
        "mutation($input: AddOptOutInput!) { addOptOut(input: $input) { errors { code } } }";
    let import_opt_outs = "mutation($input: [AddOptOutInput!]!) \
                           { importOptOuts(input: $input) { code } }";
    let create_sender =
        "mutation($input: CreateSenderInput!) { createSender(input: $input) { errors { code } } }";
    let create_key = "mutation($id: ID!, $input: CreateApiKeyInput!) \
                      { createApiKey(account: { id: $id }, input: $input) { errors { code } } }";
    let opt_out = json!({ "address": "a@example.com", "reason": "x".repeat(10_000) });
    let rendered = json!({ "to": "a@example.com", "templateId": template, "variables": parts() });
    let new_contact =
        json!({ "addresses": [{ "address": "b@example.com" }], "metadata": metadata });

    for (key, query, variables) in [
        (&team.key, send, json!({ "input": email })),
        (&test, send, json!({ "input": email })),
        (&test, send, json!({ "input": rendered })),
        (&team.key, SEND_MANY, json!({ "input": [email] })),
        (&team.key, create_contact, json!({ "input": new_contact })),
        (&team.key, change_contact, json!({ "id": contact, "input": { "metadata": metadata } })),
        (&team.key, create_template, json!({ "input": { "name": "L", "bodies": large } })),
        (&team.key, change_template, json!({ "id": template, "input": { "bodies": large } })),
        (&team.key, create_account, json!({ "input": { "name": "A", "metadata": metadata } })),
        (&team.key, change_account, json!({ "id": sub.id, "input": { "metadata": metadata } })),
        (&team.key, suspend, json!({ "id": sub.id, "input": { "reason": long } })),
        (&team.key, add_opt_out, json!({ "input": opt_out })),
        (&team.key, import_opt_outs, json!({ "input": vec![&opt_out; 20] })),
        (&team.key, create_sender, json!({ "input": { "name": long } })),
        (&team.key, create_key, json!({ "id": sub.id, "input": { "name": long } })),
    ] {
        let (refused, before) = refused(t, &team.main_account_id, key, query, &variables).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (200, vec!["RATE_LIMITED"]));
        assert_eq!(refused.body["errors"][0]["extensions"]["retryAfterSeconds"], 1);
        assert_eq!(t.everything().await, before, "{query}");
    }

    exhaust(t, &team.main_account_id);
    let quote =
        "query($input: SendMessageInput!) { messageQuote(input: $input) { wouldBeAccepted } }";
    let quote = t.ask_with(&team.key, quote, json!({ "input": email })).await;
    assert_eq!(quote.data()["messageQuote"]["wouldBeAccepted"], true);
    assert_eq!(t.send(&sub.key, email).await.refusals(), [""; 0], "another account's rate");
}

/// Makes a call while the account's write rate is used up. Returns the response and all rows from before the call. On a
/// slow machine, the rate may recover before the call is checked, so an accepted call is repeated.
async fn refused(
    t: &TestApp,
    account_id: &str,
    key: &str,
    query: &str,
    variables: &Value,
) -> (Answer, std::collections::BTreeMap<&'static str, Vec<String>>) {
    for _ in 0..100 {
        let before = t.everything().await;
        let asked = t.ask_with(key, query, variables.clone());
        tokio::pin!(asked);
        let answer = loop {
            exhaust(t, account_id);
            tokio::select! {
                biased;
                answer = &mut asked => break answer,
                () = tokio::task::yield_now() => {}
            }
        };
        if !answer.codes().is_empty() {
            return (answer, before);
        }
    }
    panic!("{query}: the request is never refused");
}

/// The error for a conflict reveals none of the template's content.
#[db_test]
async fn a_repeat_returns_the_first_content_whatever_its_template_produces_now(t: &TestApp) {
    let team = t.team(1_000).await;
    let template = long_template(t, &team.key).await;
    let change = "mutation($id: ID!, $input: UpdateTemplateInput!) \
                  { updateTemplate(id: $id, input: $input) { errors { code } } }";
    let send = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                { message { id html } replayed errors { code } } }";
    let one = |key: usize| {
        let key = format!("key-{key}");
        json!({ "to": "a@example.com", "templateId": template, "variables": parts(),
                "idempotencyKey": key })
    };
    let first = t.ask_with(&team.key, send, json!({ "input": [one(0), one(1)] })).await;
    let first = first.data()["sendMessages"].clone();
    let small = json!([{ "channel": "EMAIL", "html": "y" }]);
    let change =
        t.ask_with(&team.key, change, json!({ "id": template, "input": { "bodies": small } }));
    assert_eq!(change.await.refusals(), [""; 0]);
    let before = t.everything().await;

    let other = json!({ "to": "a@example.com", "text": "z", "idempotencyKey": "key-1" });
    let input = [one(0), other, one(1), one(0), one(2), one(2)];
    let again = t.ask_with(&team.key, send, json!({ "input": input })).await;
    let again = again.data()["sendMessages"].clone();
    for (at, earlier) in [(0, 0), (2, 1), (3, 0)] {
        assert_eq!(again[at]["message"], first[earlier]["message"]);
        assert_eq!(again[at]["replayed"], true);
    }
    assert_eq!(again[1]["errors"][0]["code"], "IDEMPOTENCY_CONFLICT");
    assert_eq!((&again[4]["replayed"], &again[5]["replayed"]), (&json!(false), &json!(true)));
    assert_eq!(again[4]["message"]["html"], "y");
    assert_eq!(again[5]["message"], again[4]["message"]);

    // The response to a hundred repeats has the same limit as every other response: 32 MiB per request.
    let fields: String = (0..4)
        .map(|at| format!("a{at}: sendMessages(input: $input) {{ replayed errors {{ code }} }} "))
        .collect();
    let query = format!("mutation($input: [SendMessageInput!]!) {{ {fields} }}");
    let input = vec![one(0); 100];
    let held = t.ask_with(&team.key, &query, json!({ "input": input })).await;
    assert_eq!(held.codes(), ["QUERY_TOO_LARGE"], "{}", held.body["errors"]);
    let messages = before["message"].len() + 1;
    assert_eq!(t.everything().await["message"].len(), messages);
}
