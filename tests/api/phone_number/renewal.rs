//! Renewals of phone numbers (R8): each month once and on its day, through restarts and races;
//! suspension, grace and recovery; and what becomes of the numbers of accounts that end.

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

use crate::harness::{Setup, TestApp, TestTeam, text};

const NUMBER: &str = "+12025550101";
/// A dollar at first and two a month.
const STOCK: &str = "+12025550101,US,LOCAL,SMS,100,200\n+12025550102,US,LOCAL,SMS,0,200\n";
const SECOND: TimeDelta = TimeDelta::seconds(1);

async fn buy(t: &TestApp, key: &str, number: &str) -> String {
    let bought = t.purchase(key, json!({ "number": number })).await;
    assert_eq!(bought.refusals(), [""; 0]);
    text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"])
}

/// Moves the clock to this moment.
fn step_to(t: &TestApp, moment: &str) {
    let moment: DateTime<Utc> = moment.parse().expect("a time");
    t.step(moment - t.clock.now());
}

/// Status, renewsAt and releasesAt of a number.
async fn state(t: &TestApp, key: &str, id: &str) -> [Value; 3] {
    let query = format!("{{ phoneNumber(id: \"{id}\") {{ status renewsAt releasesAt }} }}");
    let answer = t.ask(key, &query).await;
    let number = &answer.data()["phoneNumber"];
    ["status", "renewsAt", "releasesAt"].map(|name| number[name].clone())
}

async fn balance(t: &TestApp, team: &TestTeam) -> Value {
    t.ask(&team.key, "{ balance { balance } }").await.data()["balance"]["balance"].clone()
}

/// A condition on a column of ids.
fn is(t: &TestApp, column: &str, id: &str) -> String {
    match t.app.db.backend() {
        DbBackend::Postgres => format!("{column} = '{id}'"),
        _ => format!("{column} = X'{}'", id.replace('-', "")),
    }
}

/// A number that was bought on the 31st renews on the last day of shorter months, at its minute,
/// once: also if nobody looked for months, and another process looks then, which charges one month a day.
#[db_test]
async fn each_month_is_charged_once_on_its_day(t: &Arc<TestApp>) {
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
        assert_eq!(balance(&t, &team).await, json!(left), "{day}: not yet");
        t.step(TimeDelta::milliseconds(1));
        t = t.beside(Setup::default()).await;
        left -= 200;
        for _ in 0..2 {
            t.renew().await;
            assert_eq!(balance(&t, &team).await, json!(left), "{day}");
        }
        let renews_at = json!(format!("{next}T10:00:00.000Z"));
        assert_eq!(state(&t, &team.key, &id).await, [json!("ACTIVE"), renews_at, json!(null)]);
    }

    // Down for two months and a day.
    step_to(&t, "2027-08-01T00:00:00Z");
    t = t.beside(Setup::default()).await;
    for _ in 0..3 {
        left -= 200;
        t.renew().await;
        assert_eq!(balance(&t, &team).await, json!(left));
        t.step(MONTHS_APART - TimeDelta::milliseconds(1));
        t.renew().await;
        assert_eq!(balance(&t, &team).await, json!(left), "not within a day");
        t.step(TimeDelta::milliseconds(1));
    }
    t.renew().await;
    assert_eq!(balance(&t, &team).await, json!(left), "no more months have begun");
    let renews_at = json!("2027-08-31T10:00:00.000Z");
    assert_eq!(state(&t, &team.key, &id).await, [json!("ACTIVE"), renews_at, json!(null)]);
    let query = "{ ledger(filter: { kind: [NUMBER_FEE] }) { nodes { amount phoneNumberMonth } } }";
    let entries = t.ask(&team.key, query).await.data()["ledger"]["nodes"].clone();
    let mut expected: Vec<Value> =
        (1..=7).rev().map(|month| json!({ "amount": -200, "phoneNumberMonth": month })).collect();
    expected.push(json!({ "amount": -100, "phoneNumberMonth": 0 }));
    assert_eq!(entries, json!(expected));
    // Each on the day on which it was charged.
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

/// R8: over the credit limit it is charged all the same; what the balance cannot pay suspends the
/// number, and nothing is charged in part.
#[db_test]
async fn no_limit_holds_up_a_renewal_but_the_balance_does(t: &TestApp) {
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
    assert_eq!(balance(t, &team).await, json!(200));
    // To the last cent, and one micro-unit less than enough.
    step_to(t, "2026-06-16T12:00:00Z");
    t.renew().await;
    assert_eq!(balance(t, &team).await, json!(0));
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
    assert_eq!(t.everything().await, after, "a second look changes nothing");
}

/// Within the grace the month is paid as soon as the balance allows it, and keeps its day; at the
/// end of the grace the number is anybody's.
#[db_test]
#[case(TimeDelta::days(7) - SECOND, false)]
#[case(TimeDelta::days(7), true)]
async fn a_suspended_number_has_seven_days(
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
        assert_eq!(balance(t, &team).await, json!(200));
    } else {
        assert_eq!(taken.refusals(), ["NUMBER_UNAVAILABLE"]);
        t.top_up(&team, json!(200), "in time").await;
        t.renew().await;
        let active = [json!("ACTIVE"), json!("2026-05-16T12:00:00.000Z"), Value::Null];
        assert_eq!(state(t, &team.key, &id).await, active);
        assert_eq!(balance(t, &team).await, json!(0));
    }
}

/// Nobody loses a number because the server slept: the grace begins when the month could not be
/// paid, and what can be paid is paid, however late.
#[db_test]
async fn a_server_that_slept_takes_no_number_away(t: &TestApp) {
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

/// R20: an INACTIVE account spends nothing. Its number is SUSPENDED when the paid month ends,
/// whatever the balance; reactivated within the grace, the account pays and has it still, else it
/// is anybody's.
#[db_test]
async fn inactive_accounts_pay_for_no_month(t: &TestApp) {
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
    assert_eq!(balance(t, &team).await, json!(10_000 - 300 - 200));

    step_to(t, "2026-04-23T11:59:59Z");
    change("reactivateSubAccount", &returns.id).await;
    t.renew().await;
    assert_eq!(balance(t, &team).await, json!(10_000 - 300 - 200 - 200));
    let key = t.api_key(&team, &returns.id, "LIVE").await;
    let active = [json!("ACTIVE"), json!("2026-05-16T12:00:00.000Z"), Value::Null];
    assert_eq!(state(t, &key, &kept).await, active);
    t.step(SECOND);
    t.renew().await;
    assert_eq!(with_status("RELEASED").await, 1);
    buy(t, &team.key, NUMBER).await;
}

/// A balance that is enough for some numbers renews those that are due for longest.
#[db_test]
async fn a_balance_pays_what_it_can(t: &TestApp) {
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
    assert_eq!(balance(t, &team).await, json!(199));
    let spent = t.ask(&sub.key, "{ account { totalSpent } }").await;
    assert_eq!(spent.data()["account"]["totalSpent"], 700);
}

/// More than are looked at together, of several teams, by several processes at once: each month
/// once.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_renew_at_once_charge_once(t: &Arc<TestApp>) {
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
        done.expect("no renewal breaks off");
    }

    let count = i64::try_from(count).expect("a small number");
    for team in &teams {
        assert_eq!(balance(&processes[0], team).await, json!(1000 - 2 * count));
    }
}

/// A team that cannot be seen to, here because somebody spoiled its rows, holds up nobody else.
#[db_test]
async fn one_teams_fault_is_its_own(t: &TestApp) {
    let teams = [t.team(1000).await, t.team(1000).await, t.team(1000).await];
    for (at, team) in teams.iter().enumerate() {
        t.phone_number(&team.key, &format!("+120255501{at:02}")).await;
    }
    // Its next fee stands in the ledger already: the wall against a month that is charged twice.
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
        assert_eq!(balance(t, team).await, json!(left));
    }
    // The forged entry is made true, for the ledger gives nothing back.
    for (set, column) in [
        ("team SET balance_micros = 9980000", "id"),
        ("phone_number SET months_paid = 2", "team_id"),
        ("usage_day SET charged_micros = 20000", "team_id"),
    ] {
        t.execute(&format!("UPDATE {set} WHERE {}", is(t, column, &teams[1].id))).await;
    }
}

/// A clock that is years ahead charges a number one month, however often one looks; set right again, it has paid
/// that month early, and goes on from there.
#[db_test]
async fn a_clock_that_is_ahead_charges_one_month(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(10_000).await;
    let id = buy(t, &team.key, NUMBER).await;
    let now = t.clock.now();

    step_to(t, "2032-03-16T12:00:00Z");
    for _ in 0..3 {
        t.renew().await;
        t.step(TimeDelta::hours(1));
    }
    assert_eq!(balance(t, &team).await, json!(10_000 - 300 - 200));

    t.step(now - t.clock.now());
    step_to(t, "2026-05-16T11:59:59Z");
    t.renew().await;
    assert_eq!(balance(t, &team).await, json!(10_000 - 300 - 200), "April is paid");
    for (at, left) in [("2026-05-16T12:00:00Z", 9_300), ("2026-06-16T12:00:00Z", 9_100)] {
        step_to(t, at);
        t.renew().await;
        assert_eq!(balance(t, &team).await, json!(left));
    }
    let renews_at = json!("2026-07-16T12:00:00.000Z");
    assert_eq!(state(t, &team.key, &id).await, [json!("ACTIVE"), renews_at, json!(null)]);
}

/// The worker of a server renews by itself.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_renews(t: &TestApp) {
    let team = t.team(1000).await;
    t.phone_number(&team.key, NUMBER).await;
    step_to(t, "2026-04-16T12:00:00Z");

    let stop = CancellationToken::new();
    let (_, key_uses) = mpsc::channel(1);
    let watch = ClockWatch::new(&*t.clock, || Duration::ZERO);
    let working = tokio::spawn(worker::run(Arc::clone(&t.app), key_uses, watch, stop.clone()));
    let renewed = async {
        while balance(t, &team).await != json!(998) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("it is renewed");
    stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(5), working).await;
    stopped.expect("it stops while it rests").expect("it does not break off");
}
