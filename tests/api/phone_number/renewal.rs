//! Renewal of phone numbers. Each month is charged once and on the right day, even if processes restart or run
//! concurrently. The tests also cover suspension, the grace period, recovery, and the numbers of deactivated accounts.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use db_test::db_test;
use futures_util::future::join_all;
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::Clock as _,
    domain::phone_number::renewal::{MONTHS_APART, RENEWED_TOGETHER_MAX},
    worker::{self, ClockWatch},
};

use crate::harness::{Setup, TestApp, text};

const NUMBER: &str = "+12025550101";
/// Two phone numbers for 200 cents a month. The first one also has an upfront price of 100 cents.
const STOCK: &str = "+12025550101,US,LOCAL,SMS,100,200\n+12025550102,US,LOCAL,SMS,0,200\n";
const SECOND: TimeDelta = TimeDelta::seconds(1);

async fn buy(t: &TestApp, key: &str, number: &str) -> String {
    let bought = t.purchase(key, json!({ "number": number })).await;
    assert_eq!(bought.refusals(), [""; 0]);
    text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"])
}

/// Moves the clock to this time.
fn step_to(t: &TestApp, moment: &str) {
    let moment: DateTime<Utc> = moment.parse().expect("a time");
    t.step(moment - t.clock.now());
}

/// Returns `status`, `renewsAt` and `releasesAt` of a phone number.
async fn state(t: &TestApp, key: &str, id: &str) -> [Value; 3] {
    let query = format!("{{ phoneNumber(id: \"{id}\") {{ status renewsAt releasesAt }} }}");
    let answer = t.ask(key, &query).await;
    let number = &answer.data()["phoneNumber"];
    ["status", "renewsAt", "releasesAt"].map(|name| number[name].clone())
}

/// Returns the SQL condition that a column contains this id.
fn is(t: &TestApp, column: &str, id: &str) -> String {
    match t.app.db.backend() {
        DbBackend::Postgres => format!("{column} = '{id}'"),
        _ => format!("{column} = X'{}'", id.replace('-', "")),
    }
}

/// If a month does not have the day of the purchase, the month's last day is used. After a downtime of several months,
/// another process charges one month per day.
#[db_test]
async fn each_month_is_charged_once_on_the_day_of_the_purchase(t: &Arc<TestApp>) {
    let mut t = Arc::clone(t);
    t.stock(STOCK).await;
    let team = t.team(10_000).await;
    step_to(&t, "2027-01-31T10:00:00Z");
    let id = buy(&t, &team.key, NUMBER).await;
    let mut left = 9_700;

    for (day, next) in
        [("2027-02-28", "2027-03-31"), ("2027-03-31", "2027-04-30"), ("2027-04-30", "2027-05-31")]
    {
        step_to(&t, &format!("{day}T09:59:59.999Z"));
        t.renew().await;
        assert_eq!(t.balance(&team).await, json!(left), "{day}: the month has not begun yet");
        t.step(TimeDelta::milliseconds(1));
        t = t.beside(Setup::default()).await;
        left -= 200;
        for _ in 0..2 {
            t.renew().await;
            assert_eq!(t.balance(&team).await, json!(left), "{day}");
        }
        let renews_at = json!(format!("{next}T10:00:00.000Z"));
        assert_eq!(state(&t, &team.key, &id).await, [json!("ACTIVE"), renews_at, json!(null)]);
    }

    // No process ran for two months and a day.
    step_to(&t, "2027-08-01T00:00:00Z");
    t = t.beside(Setup::default()).await;
    for _ in 0..3 {
        left -= 200;
        t.renew().await;
        assert_eq!(t.balance(&team).await, json!(left));
        t.step(MONTHS_APART - TimeDelta::milliseconds(1));
        t.renew().await;
        assert_eq!(
            t.balance(&team).await,
            json!(left),
            "a second month is not charged within a day"
        );
        t.step(TimeDelta::milliseconds(1));
    }
    t.renew().await;
    assert_eq!(t.balance(&team).await, json!(left), "no more months have begun");
    let renews_at = json!("2027-08-31T10:00:00.000Z");
    assert_eq!(state(&t, &team.key, &id).await, [json!("ACTIVE"), renews_at, json!(null)]);
    let query = "{ ledger(filter: { kind: [NUMBER_FEE] }) { nodes { amount phoneNumberMonth } } }";
    let entries = t.ask(&team.key, query).await.data()["ledger"]["nodes"].clone();
    let mut expected: Vec<Value> =
        (1..=7).rev().map(|month| json!({ "amount": -200, "phoneNumberMonth": month })).collect();
    expected.push(json!({ "amount": -100, "phoneNumberMonth": 0 }));
    assert_eq!(entries, json!(expected));
    // The usage of a day includes each month that was charged on that day.
    let usage = "{ account { usage(range: { from: \"2027-01-01\", to: \"2027-12-31\" }, \
                 groupBy: [MONTH]) { buckets { month figures { charged } } } } }";
    let buckets = t.ask(&team.key, usage).await.data()["account"]["usage"]["buckets"].clone();
    let expected = [("01", 300), ("02", 200), ("03", 200), ("04", 200), ("08", 600)].map(
        |(month, charged)| {
            json!({ "month": format!("2027-{month}"), "figures": { "charged": charged } })
        },
    );
    assert_eq!(buckets, json!(expected));
}

/// If the balance is too low, the number is suspended and nothing is charged.
#[db_test]
async fn a_renewal_ignores_the_credit_limit_and_needs_the_whole_balance(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(900).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 300 })).await;
    let id = buy(t, &sub.key, NUMBER).await;
    let query =
        "mutation($id: ID!) { suspendSubAccount(account: { id: $id }) { errors { code } } }";
    t.ask_with(&team.key, query, json!({ "id": sub.id })).await;

    let query = "{ account { totalSpent blockedBy } }";
    for (at, spent) in [("2026-04-16T12:00:00Z", 500), ("2026-05-16T12:00:00Z", 700)] {
        step_to(t, at);
        t.renew().await;
        let blocked = json!({ "totalSpent": spent, "blockedBy": ["SUSPENDED", "CREDIT_LIMIT"] });
        assert_eq!(t.ask(&sub.key, query).await.data()["account"], blocked);
    }
    assert_eq!(t.balance(&team).await, json!(200));
    // The balance is exactly sufficient for the next month. For the month after, it is one micro-unit too low.
    step_to(t, "2026-06-16T12:00:00Z");
    t.renew().await;
    assert_eq!(t.balance(&team).await, json!(0));
    t.top_up(&team, json!(199.9999), "almost").await;
    step_to(t, "2026-07-16T12:00:00Z");
    let money = t.everything().await;
    t.renew().await;
    let renews_at = json!("2026-07-16T12:00:00.000Z");
    let releases_at = json!("2026-07-23T12:00:00.000Z");
    let suspended = [json!("SUSPENDED"), renews_at, releases_at];
    assert_eq!(state(t, &sub.key, &id).await, suspended);
    let after = t.everything().await;
    for table in ["team", "account", "ledger_entry", "usage_day", "inventory_number"] {
        assert_eq!(after[table], money[table]);
    }
    t.renew().await;
    assert_eq!(t.everything().await, after, "a second round changes nothing");
}

/// A suspended number is renewed when the balance is sufficient again, and the day of the month does not change. If the
/// grace period ends before that, the number is released.
#[db_test]
#[case(TimeDelta::days(7) - SECOND, false)]
#[case(TimeDelta::days(7), true)]
async fn a_suspended_number_has_a_grace_period_of_seven_days(
    t: &TestApp,
    #[case] after: TimeDelta,
    #[case] is_over: bool,
) {
    t.stock(STOCK).await;
    let (team, other) = (t.team(300).await, t.team(1000).await);
    let id = buy(t, &team.key, NUMBER).await;
    step_to(t, "2026-04-16T12:00:00Z");
    t.renew().await;
    assert_eq!(state(t, &team.key, &id).await[0], "SUSPENDED");

    t.step(after);
    t.renew().await;

    let taken = t.purchase(&other.key, json!({ "number": NUMBER })).await;
    if is_over {
        let released = [json!("RELEASED"), json!("2026-04-16T12:00:00.000Z"), Value::Null];
        assert_eq!(state(t, &team.key, &id).await, released);
        assert_eq!(taken.refusals(), [""; 0]);
        t.top_up(&team, json!(200), "late").await;
        t.renew().await;
        assert_eq!(t.balance(&team).await, json!(200));
    } else {
        assert_eq!(taken.refusals(), ["NUMBER_UNAVAILABLE"]);
        t.top_up(&team, json!(200), "in time").await;
        t.renew().await;
        let active = [json!("ACTIVE"), json!("2026-05-16T12:00:00.000Z"), Value::Null];
        assert_eq!(state(t, &team.key, &id).await, active);
        assert_eq!(t.balance(&team).await, json!(0));
    }
}

/// The grace period begins at the time when the month could not be paid, and not when the month began.
#[db_test]
async fn a_downtime_of_the_server_releases_no_number(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(300).await;
    let id = buy(t, &team.key, NUMBER).await;

    step_to(t, "2026-05-01T00:00:00Z");
    t.renew().await;
    let renews_at = json!("2026-04-16T12:00:00.000Z");
    let suspended = [json!("SUSPENDED"), renews_at, json!("2026-05-08T00:00:00.000Z")];
    assert_eq!(state(t, &team.key, &id).await, suspended);

    t.top_up(&team, json!(200), "in time").await;
    step_to(t, "2026-05-09T00:00:00Z");
    t.renew().await;
    let active = [json!("ACTIVE"), json!("2026-05-16T12:00:00.000Z"), Value::Null];
    assert_eq!(state(t, &team.key, &id).await, active);
}

/// The next month is not charged while the account is inactive, even if the balance is sufficient. If the account is
/// reactivated within the grace period, the month is charged then; otherwise the number is released.
#[db_test]
async fn a_number_of_an_inactive_account_is_suspended_at_the_end_of_its_month(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(10_000).await;
    let [ends, returns] =
        [t.sub_account(&team, json!({})).await, t.sub_account(&team, json!({})).await];
    buy(t, &ends.key, NUMBER).await;
    let kept = buy(t, &returns.key, "+12025550102").await;
    let change = async |what: &str, id: &str| {
        let query = format!(
            "mutation($id: ID!) {{ {what}(account: {{ id: $id }}) {{ errors {{ code }} }} }}"
        );
        assert_eq!(t.ask_with(&team.key, &query, json!({ "id": id })).await.refusals(), [""; 0]);
    };
    let with_status = async |status: &str| {
        t.number(&format!("SELECT COUNT(*) FROM phone_number WHERE status = '{status}'")).await
    };
    change("deactivateSubAccount", &ends.id).await;
    change("deactivateSubAccount", &returns.id).await;

    step_to(t, "2026-04-16T11:59:59Z");
    t.renew().await;
    assert_eq!(with_status("ACTIVE").await, 2);
    t.step(SECOND);
    t.renew().await;
    assert_eq!(with_status("SUSPENDED").await, 2);
    assert_eq!(t.balance(&team).await, json!(10_000 - 300 - 200));

    step_to(t, "2026-04-23T11:59:59Z");
    change("reactivateSubAccount", &returns.id).await;
    t.renew().await;
    assert_eq!(t.balance(&team).await, json!(10_000 - 300 - 200 - 200));
    let key = t.api_key(&team, &returns.id, "LIVE").await;
    let active = [json!("ACTIVE"), json!("2026-05-16T12:00:00.000Z"), Value::Null];
    assert_eq!(state(t, &key, &kept).await, active);
    t.step(SECOND);
    t.renew().await;
    assert_eq!(with_status("RELEASED").await, 1);
    buy(t, &team.key, NUMBER).await;
}

#[db_test]
async fn a_low_balance_pays_the_numbers_that_are_due_for_the_longest_time(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(500).await;
    let sub = t.sub_account(&team, json!({})).await;
    let first = buy(t, &sub.key, NUMBER).await;
    t.step(SECOND);
    let second = buy(t, &sub.key, "+12025550102").await;
    t.top_up(&team, json!(399), "one month and most of another").await;

    step_to(t, "2026-04-17T12:00:00Z");
    t.renew().await;

    assert_eq!(state(t, &sub.key, &first).await[0], "ACTIVE");
    assert_eq!(state(t, &sub.key, &second).await[0], "SUSPENDED");
    assert_eq!(t.balance(&team).await, json!(199));
    let spent = t.ask(&sub.key, "{ account { totalSpent } }").await;
    assert_eq!(spent.data()["account"]["totalSpent"], 700);
}

/// The numbers belong to several teams, and one batch is too small for all of them.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_processes_charge_each_month_once(t: &Arc<TestApp>) {
    let count = RENEWED_TOGETHER_MAX / 2 + 10;
    let teams = [t.team(1000).await, t.team(1000).await];
    for (at, team) in teams.iter().enumerate() {
        for number in 0..count {
            t.phone_number(&team.key, &format!("+1202555{at}{number:03}")).await;
        }
    }
    let processes = [t.beside(Setup::default()).await, Arc::clone(t)];
    step_to(&processes[0], "2026-04-16T12:00:00Z");

    let renewals = (0..6).map(|at| {
        let process = Arc::clone(&processes[at % 2]);
        tokio::spawn(async move { process.renew().await })
    });
    for done in join_all(renewals.collect::<Vec<_>>()).await {
        done.expect("no renewal panics");
    }

    let count = i64::try_from(count).expect("a small number");
    for team in &teams {
        assert_eq!(processes[0].balance(team).await, json!(1000 - 2 * count));
    }
}

#[db_test]
async fn a_fault_in_the_data_of_one_team_does_not_stop_the_renewals_of_others(t: &TestApp) {
    let teams = [t.team(1000).await, t.team(1000).await, t.team(1000).await];
    for (at, team) in teams.iter().enumerate() {
        t.phone_number(&team.key, &format!("+120255501{at:02}")).await;
    }
    // A forged entry for the next fee makes the unique index refuse the real entry.
    let forge = format!(
        "INSERT INTO ledger_entry (id, team_id, account_id, phone_number_id, phone_number_month, kind, \
         amount_micros, balance_after_micros, created_at) SELECT team_id, team_id, account_id, \
         phone_number_id, 2, kind, amount_micros, balance_after_micros + amount_micros, created_at \
         FROM ledger_entry WHERE kind = 'NUMBER_FEE' AND {}",
        is(t, "team_id", &teams[1].id)
    );
    t.execute(&forge).await;
    step_to(t, "2026-04-16T12:00:00Z");

    t.renew().await;

    for (team, left) in teams.iter().zip([998, 999, 998]) {
        assert_eq!(t.balance(team).await, json!(left));
    }
    // Ledger entries cannot be deleted. To pass the checks after the test, the data is changed to agree with the forged
    // entry.
    for (set, column) in [
        ("team SET balance_micros = 9980000", "id"),
        ("phone_number SET months_paid = 2", "team_id"),
        ("usage_day SET charged_micros = 20000", "team_id"),
    ] {
        t.execute(&format!("UPDATE {set} WHERE {}", is(t, column, &teams[1].id))).await;
    }
}

/// The month that was charged while the clock was ahead remains paid after the clock is corrected.
#[db_test]
async fn a_clock_that_is_years_ahead_charges_only_one_month(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(10_000).await;
    let id = buy(t, &team.key, NUMBER).await;
    let now = t.clock.now();

    step_to(t, "2032-03-16T12:00:00Z");
    for _ in 0..3 {
        t.renew().await;
        t.step(TimeDelta::hours(1));
    }
    assert_eq!(t.balance(&team).await, json!(10_000 - 300 - 200));

    t.step(now - t.clock.now());
    step_to(t, "2026-05-16T11:59:59Z");
    t.renew().await;
    assert_eq!(t.balance(&team).await, json!(10_000 - 300 - 200), "April is paid");
    for (at, left) in [("2026-05-16T12:00:00Z", 9_300), ("2026-06-16T12:00:00Z", 9_100)] {
        step_to(t, at);
        t.renew().await;
        assert_eq!(t.balance(&team).await, json!(left));
    }
    let renews_at = json!("2026-07-16T12:00:00.000Z");
    assert_eq!(state(t, &team.key, &id).await, [json!("ACTIVE"), renews_at, json!(null)]);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_renews_phone_numbers(t: &TestApp) {
    let team = t.team(1000).await;
    t.phone_number(&team.key, NUMBER).await;
    step_to(t, "2026-04-16T12:00:00Z");

    let stop = CancellationToken::new();
    let (_, key_uses) = mpsc::channel(1);
    let watch = ClockWatch::new(&*t.clock, || Duration::ZERO);
    let working = tokio::spawn(worker::run(Arc::clone(&t.app), key_uses, watch, stop.clone()));
    let renewed = async {
        while t.balance(&team).await != json!(998) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("it is renewed");
    stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(5), working).await;
    stopped.expect("it stops while it rests").expect("the task does not panic");
}
