//! While the server's clock is wrong, the worker neither delivers messages nor renews phone numbers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, http::Request};
use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::{self, Clock, SystemClock},
    worker::{self, ClockWatch},
};
use uuid::Uuid;

use crate::harness::{TestApp, TestTeam, text};

/// The time by which the clock jumps. The jump is longer than a month, so that the next month of a phone number is due.
const JUMP: TimeDelta = TimeDelta::days(40);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_mins(1), held).await;
    assert!(held.is_ok(), "{what}");
}

/// Returns the status of the waiting message, and the balance.
async fn state(t: &TestApp, team: &TestTeam) -> Value {
    let query = "{ messages { nodes { status } } balance { balance } }";
    let data = t.ask(&team.key, query).await.data().clone();
    json!([data["messages"]["nodes"][0]["status"], data["balance"]["balance"]])
}

/// Returns the status and body of the response from `/readyz`.
async fn ready(t: &TestApp) -> (u16, String) {
    let request = Request::get("/readyz").body(Body::empty()).expect("a request");
    let answer = t.request(request).await;
    (answer.status.as_u16(), text(&answer.body))
}

/// Waits until the worker has completed one round. The worker writes the uses of keys at the beginning of each round,
/// so the uses of two keys, reported one after the other, are written in different rounds.
async fn let_the_worker_go_round(t: &TestApp, uses: &mpsc::Sender<Uuid>, keys: [&str; 2]) {
    for key in keys {
        let used = format!(
            "SELECT COUNT(*) FROM api_key WHERE last_used_at IS NOT NULL AND last_four = '{}'",
            &key[key.len() - 4..]
        );
        let id = t.key_id(key).await;
        uses.send(id.parse().expect("an id")).await.expect("the worker listens");
        until("the worker goes round", async || t.number(&used).await == 1).await;
    }
}

/// Until the clock is correct again, no messages are sent, no phone number months are charged, and no messages of a
/// deactivated account are canceled.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_does_nothing_while_the_clock_is_wrong(t: &TestApp) {
    let team = t.team(1_000).await;
    let keys = [
        t.api_key(&team, &team.main_account_id, "LIVE").await,
        t.api_key(&team, &team.main_account_id, "TEST").await,
    ];
    t.phone_number(&team.key, "+12025550101").await;
    let passed = Arc::new(AtomicU64::new(0));
    let steady = Arc::clone(&passed);
    let watch =
        ClockWatch::new(&*t.clock, move || Duration::from_secs(steady.load(Ordering::Relaxed)));
    let send_at = t.clock.now() + TimeDelta::days(20);
    let input = json!({ "to": "+12025550123", "text": "Later", "sendAt": send_at });
    assert_eq!(t.send(&team.key, input).await.refusals(), [""; 0]);
    let before = state(t, &team).await;
    assert_eq!(before[0], "SCHEDULED");
    let sub = t.sub_account(&team, json!({})).await;
    // Messages cost nothing, so that only the monthly price of the phone number changes the balance.
    t.set_sms_price(0).await;
    assert!(t.sends(&sub.key).await);
    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    let canceled = "SELECT COUNT(*) FROM message WHERE status = 'CANCELED'";

    t.step(JUMP);
    let (uses, key_uses) = mpsc::channel(2);
    let stop = CancellationToken::new();
    let working = worker::run(Arc::clone(&t.app), key_uses, watch, stop.clone());
    let working = tokio::spawn(working);
    let_the_worker_go_round(t, &uses, [&keys[0], &keys[1]]).await;
    assert_eq!(state(t, &team).await, before);
    assert_eq!(t.number(canceled).await, 0, "no message of a changed account is processed");
    let (status, said) = ready(t).await;
    assert!(status == 503 && said.starts_with("the machine's clock has jumped"), "{said}");

    // Now as much real time has passed as the time by which the clock has jumped.
    passed.store(JUMP.num_seconds().unsigned_abs(), Ordering::Relaxed);
    let is_done = async || {
        let now = state(t, &team).await;
        let is_sent = now[0] == "SENT" && now[1] != before[1];
        is_sent && t.number(canceled).await == 1
    };
    until("the worker goes on", is_done).await;
    assert_eq!(ready(t).await, (200, "ready\n".to_owned()));
    stop.cancel();
    working.await.expect("the worker stops");
}

#[db_test(postgres)]
async fn a_clock_that_is_wrong_from_the_start_is_noticed_by_postgresqls_clock(t: &TestApp) {
    let watch = ClockWatch::of_machine(&*t.clock);
    assert!(watch.is_right(&*t.clock), "the database has not been asked yet");
    watch.ask_database(&t.app).await.expect("it answers");
    assert!(!watch.is_right(&*t.clock), "the tests' clock still shows March");

    let asked = t.app.db.now().await.expect("it answers").expect("PostgreSQL has a clock");
    t.step(asked - t.clock.now());
    watch.ask_database(&t.app).await.expect("it answers");
    // The clock is correct again, but the watch remembers the jump for at least a minute.
    assert!(!watch.is_right(&*t.clock));
    let watch = ClockWatch::of_machine(&*t.clock);
    watch.ask_database(&t.app).await.expect("it answers");
    assert!(watch.is_right(&*t.clock));
}

#[test]
fn the_machines_wall_clock_and_monotonic_clock_agree() {
    let watch = ClockWatch::of_machine(&SystemClock);
    let (begun, now) = (clock::since_boot(), SystemClock.now());
    while SystemClock.now() <= now {}
    assert!(clock::since_boot() > begun);
    assert!(watch.is_right(&SystemClock));
}
