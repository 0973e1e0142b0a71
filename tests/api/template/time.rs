//! The limit on the processor time that the templates of one request share.

use std::time::Duration;

use db_test::db_test;
use entity::message::Channel;
use serde_json::{Map, json};
use tokio::time::Instant;
use tollgate::domain::{
    Fault, Unavailable,
    api_key::authentication,
    channel::send_refusal::SendRefusal,
    deadline::Deadline,
    message::{self, NewMessage, Sent},
    template::{self, NewTemplate, TemplateChange, render::RenderRefusal, time_limit::TIME_MAX},
};
use uuid::Uuid;

use super::{preview, sms};
use crate::harness::{TestApp, text};

/// Messages whose templates exceed the time limit are refused with an error code and not charged.
#[db_test]
async fn the_templates_of_a_request_share_200_ms_of_processor_time(t: &TestApp) {
    let team = t.team(1_000).await;
    // For each of 200 messages, the template uses the maximum number of steps. Together they need many times the time
    // limit of one request.
    let source = "Hi{% for a in wide %}{% for b in wide %}{% if wide|upper|title == b %}{% endif %}\
                  {% endfor %}{% endfor %}";
    let variables = json!([{ "name": "wide" }]);
    let id = t.template(&team.key, sms(source), variables).await;
    let before = t.everything().await;
    let aliases: String = (0..2)
        .map(|at| format!("a{at}: sendMessages(input: $input) {{ errors {{ code message }} }} "))
        .collect();
    let query = format!("mutation($input: [SendMessageInput!]!) {{ {aliases} }}");
    let given = json!({ "wide": "\u{390}".repeat(500) });
    let one = json!({ "to": "+12025550123", "templateId": id, "variables": given });

    let sent = t.ask_with(&team.key, &query, json!({ "input": vec![one; 100] })).await;

    let messages: Vec<String> = (0..2)
        .flat_map(|at| sent.data()[format!("a{at}")].as_array().expect("a list").clone())
        .map(|one| {
            assert_eq!(one["errors"][0]["code"], "TEMPLATE_FAILED");
            text(&one["errors"][0]["message"])
        })
        .collect();
    assert_eq!(messages.len(), 200);
    let used_up = messages.iter().position(|message| message.contains("200 ms"));
    let used_up = used_up.expect("there is not time for all");
    assert!(used_up > 0 && messages[..used_up].iter().all(|message| message.contains("steps")));
    assert!(messages[used_up..].iter().all(|message| message.contains("200 ms")));
    assert_eq!(t.everything().await, before);
    // Each request has its own time limit.
    assert!(t.sends(&team.key).await);
    assert_eq!(preview(t, &team.key, &id, json!({ "wide": "" })).await[0]["text"], "Hi");
}

/// A repeat of an accepted message is still answered.
#[db_test]
async fn after_its_time_is_used_up_a_request_can_neither_render_nor_store_templates(t: &TestApp) {
    let team = t.team(1_000).await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let repeated = json!({ "to": "+12025550123", "templateId": id, "idempotencyKey": "k" });
    assert_eq!(t.send(&team.key, repeated).await.refusals(), [""; 0]);
    let before = t.everything().await;
    let caller = authentication::authenticate(&t.app, &team.key).await.expect("the key is read");
    let caller = caller.expect("a valid key").account().expect("an account");
    let live = caller.live().expect("a live key");
    let id: Uuid = id.parse().expect("an id");
    let deadline = Deadline::until(Instant::now() + Duration::from_secs(10));
    deadline.template_time.add(TIME_MAX);
    let budget = t.app.memory_budget.of(None);
    let message = |key: Option<&str>| NewMessage {
        to: Some("+12025550123".to_owned()),
        template_id: Some(id),
        idempotency_key: key.map(str::to_owned),
        ..NewMessage::default()
    };
    let plain = NewMessage { template_id: None, text: Some("Hi".to_owned()), ..message(None) };

    let sent = message::send_many(
        &t.app,
        &caller,
        vec![message(None), message(Some("k"))],
        &deadline,
        &budget,
    )
    .await
    .expect("verdicts");
    let quoted = message::quote(&t.app, &caller, message(None), &deadline).await.expect("a quote");
    let shown =
        template::preview::preview(&t.app, &caller, Some(id), Map::new(), &budget, &deadline)
            .await
            .expect("previews");
    let body = template::body::Body {
        channel: Channel::Sms,
        subject: None,
        text: Some("Ho".to_owned()),
        html: None,
    };
    let new = NewTemplate { name: "New".to_owned(), bodies: vec![body.clone()], variables: vec![] };
    let made = template::create(&t.app, &live, new, &deadline).await;
    let change = TemplateChange { bodies: Some(vec![body]), ..TemplateChange::default() };
    let changed = template::update(&t.app, &live, Some(id), change, &deadline).await;

    let is_used_up = |refusal: &str| refusal.contains("200 ms");
    let [Sent::Refused(refused), Sent::Replayed(_)] = &sent[..] else { panic!("{sent:?}") };
    assert!(refused.code == SendRefusal::TemplateFailed && is_used_up(&refused.message));
    assert!(quoted.refusal.is_some_and(|refused| refused.code == SendRefusal::TemplateFailed));
    let shown = shown[0].content.as_ref().expect_err("there is no time");
    assert!(shown.code == RenderRefusal::TemplateFailed && is_used_up(&shown.message));
    for failure in [made.map_err(|it| format!("{it:?}")), changed.map_err(|it| format!("{it:?}"))] {
        let failure = failure.expect_err("there is no time");
        assert!(failure.contains("BadInput") && is_used_up(&failure), "{failure}");
    }
    assert_eq!(t.everything().await, before);
    let sent = message::send(&t.app, &caller, plain, &deadline, &budget).await.expect("a verdict");
    assert!(matches!(sent, Sent::Accepted(_)), "{sent:?}");
}

/// A request that has exceeded its deadline also renders no template and charges nothing.
#[db_test]
async fn a_canceled_request_renders_no_template_and_charges_nothing(t: &TestApp) {
    let team = t.team(1_000).await;
    let id = t.template(&team.key, sms("Hi"), json!([])).await;
    let before = t.everything().await;
    let caller = authentication::authenticate(&t.app, &team.key).await.expect("the key is read");
    let caller = caller.expect("a valid key").account().expect("an account");
    let gone = Deadline::until(Instant::now() + Duration::from_secs(10));
    gone.gone.cancel();
    for deadline in [gone, Deadline::until(Instant::now())] {
        let message = NewMessage {
            to: Some("+12025550123".to_owned()),
            template_id: id.parse().ok(),
            ..NewMessage::default()
        };
        let budget = t.app.memory_budget.of(None);
        let sent = message::send(&t.app, &caller, message, &deadline, &budget).await;
        let late = matches!(sent, Err(Fault::Unavailable(Unavailable::TemplatesLate)));
        assert!(late, "{sent:?}");
    }
    assert_eq!(t.everything().await, before);
}
