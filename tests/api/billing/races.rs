//! Balances and totals are exact under concurrency: many senders in several processes use one database, and all kinds
//! of charges and refunds happen at once. Some tests plant a fault in one SQL statement, to show that the checks detect
//! the fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use db_test::db_test;
use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sea_orm::DbBackend;
use serde_json::json;
use tollgate::domain::billing::{self, Statements};

use super::{MICROS_PER_CENT, assert_charged_once};
use crate::harness::{Answer, Apps, Setup, Sqlite, TestApp, TestSubAccount, TestTeam};

const SENDERS: usize = 8;

/// Sends messages from all processes at once until each of several sub-accounts has reached its limit. With `is_burst`,
/// each process has many concurrent senders. Returns an error that describes the first wrong result.
async fn send_dry(processes: &[Arc<TestApp>], is_burst: bool) -> Result<(), String> {
    let t = &processes[0];
    let price = 3 * MICROS_PER_CENT;
    t.set_sms_price(price).await;
    let team = t.team(1_000_000).await;
    let mut spent = 0;
    for limit_cents in [1, 7, 30, 50, 100, 101] {
        let sub = t.sub_account(&team, json!({ "creditLimit": limit_cents })).await;
        let senders = processes.iter().flat_map(|process| {
            // A few senders use the fast path of the writer. Many senders make the writer use batches.
            (0..if is_burst { SENDERS } else { 2 }).map(|_| {
                let (process, key) = (Arc::clone(process), sub.key.clone());
                tokio::spawn(async move { send_until_refused(&process, &key).await })
            })
        });
        let mut accepted = 0;
        for sender in join_all(senders.collect::<Vec<_>>()).await {
            accepted += sender.map_err(|error| error.to_string())??;
        }
        let limit = limit_cents * MICROS_PER_CENT;
        let expected = (limit + price - 1) / price;
        if accepted != expected {
            return Err(format!("limit {limit_cents}: {accepted} accepted, not {expected}"));
        }
        spent += expected * price;
    }
    // Without refunds, each send lowers the balance, so a team never has the same balance twice.
    let repeated = t
        .number(
            "SELECT COUNT(*) FROM (SELECT 1 FROM ledger_entry WHERE kind = 'CHARGE' \
             GROUP BY team_id, balance_after_micros HAVING COUNT(*) > 1) AS twice",
        )
        .await;
    let answer = t.ask(&team.key, "{ balance { balance } }").await;
    let balance = &answer.data()["balance"]["balance"];
    let expected = 1_000_000 - spent / MICROS_PER_CENT;
    if repeated != 0 || *balance != expected {
        return Err(format!("{repeated} balances twice; the balance is {balance}, not {expected}"));
    }
    let audit = billing::reconciliation::run(&t.app).await.map_err(|fault| fault.to_string())?;
    if audit.drifts.is_empty() { Ok(()) } else { Err(format!("{:?}", audit.drifts)) }
}

async fn send_until_refused(process: &TestApp, key: &str) -> Result<i64, String> {
    for accepted in 0..1_000 {
        let answer = process.send(key, json!({ "to": "+12025550123", "text": "Hi" })).await;
        if !answer.codes().is_empty() {
            return Err(answer.body.to_string());
        }
        match answer.refusals()[..] {
            [] => {}
            ["CREDIT_LIMIT_REACHED"] => return Ok(accepted),
            _ => return Err(answer.body.to_string()),
        }
    }
    Err("the limit is never reached".to_owned())
}

/// For a limit L and a price p, exactly ceil(L/p) messages are accepted.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_across_processes(t: &Arc<TestApp>, #[values(false, true)] is_burst: bool) {
    let processes = t.processes(Setup::default()).await;

    assert_eq!(send_dry(&processes, is_burst).await, Ok(()));
}

/// Returns the SQL statements of the program with one planted fault.
fn planted(backend: DbBackend, plant: &str) -> Statements {
    let texts = Statements::of(backend);
    let swap = |text: &'static str, from: &str, to: &str| -> &'static str {
        assert!(text.contains(from), "{from} is not in the statement");
        text.replacen(from, to, 1).leak()
    };
    match plant {
        "check, then charge" if backend == DbBackend::Postgres => Statements {
            // The planted statement checks the limit with a value that was read before the row was locked.
            accept_one: swap(
                swap(texts.accept_one, " SKIP LOCKED", ""),
                "account.total_spent_micros < account.credit_limit_micros",
                "(SELECT b.total_spent_micros < b.credit_limit_micros FROM account b WHERE b.id = $3)",
            ),
            ..texts
        },
        "check, then charge" => Statements {
            read_keys: swap(
                texts.read_keys,
                "a.credit_limit_micros",
                "NULL AS credit_limit_micros",
            ),
            ..texts
        },
        "lost update" if backend == DbBackend::Postgres => {
            let unlocked = swap(texts.accept_one, "FOR UPDATE SKIP LOCKED", "");
            Statements {
                accept_one: swap(
                    unlocked,
                    "team.balance_micros - $12",
                    "(SELECT payer.balance_micros FROM payer) - $12",
                ),
                ..texts
            }
        }
        "lost update" => Statements {
            write: swap(
                texts.write,
                "total_spent_micros = c.value ->> 2",
                "total_spent_micros = (c.value ->> 2) - (c.value ->> 1)",
            ),
            ..texts
        },
        _ => unreachable!("no such plant"),
    }
}

#[db_test]
#[case("check, then charge")]
#[case("lost update")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_above_fails_with_a_planted_fault(apps: &Apps, #[case] plant: &str) {
    let is_burst = apps.database == Sqlite;
    let backend = if is_burst { DbBackend::Sqlite } else { DbBackend::Postgres };
    let statements = Some(planted(backend, plant));
    let setup = Setup { statements, has_wrong_totals: true, ..Setup::default() };
    let t = apps.start_with(setup.clone()).await;
    let processes = t.processes(setup).await;

    // A single race may miss the fault by chance, so the test runs up to twenty races.
    for _ in 0..20 {
        if let Err(found) = send_dry(&processes, is_burst).await {
            // The check must find a wrong amount. An error in the planted statement itself would not show that the
            // check works.
            assert!(!found.contains("INTERNAL_SERVER_ERROR"), "{found}");
            return;
        }
    }
    panic!("{plant}: nothing was found");
}

/// The planted statement does not check whether the message was already refunded. Even then, the unique index refuses a
/// second refund.
#[db_test]
async fn a_message_is_refunded_once(apps: &Apps, #[values(false, true)] is_planted: bool) {
    let backend = if apps.database == Sqlite { DbBackend::Sqlite } else { DbBackend::Postgres };
    let mut texts = Statements::of(backend);
    if is_planted {
        assert!(texts.mark_refunded.contains("AND refunded_at IS NULL"));
        texts.mark_refunded = texts.mark_refunded.replace("AND refunded_at IS NULL", "").leak();
    }
    let setup = Setup { statements: Some(texts), ..Setup::default() };
    let t = apps.start_with(setup).await;
    let team = t.team(1_000).await;
    let sent = t.send(&team.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    let id = sent.data()["sendMessage"]["message"]["id"].as_str().expect("an id");
    let (id, team_id) = (id.parse().expect("an id"), team.id.parse().expect("an id"));
    t.deliver().await;
    let before = t.everything().await;

    let txn = t.app.db.begin_write().await.expect("a transaction begins");
    let teams = tollgate::domain::account::team_lock::lock_teams(&txn, [team_id])
        .await
        .expect("the lock is free");
    let again = billing::refund(&t.app, &txn, &teams, vec![id]).await;
    match again {
        Ok(()) => txn.commit().await.expect("the transaction ends"),
        Err(_) => txn.rollback().await.expect("the transaction ends"),
    }

    assert_eq!(again.is_err(), is_planted);
    assert_eq!(t.everything().await, before);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_repeats_over_several_processes_charge_once(t: &Arc<TestApp>) {
    let processes = t.processes(Setup::default()).await;
    let team = processes[0].team(1_000).await;

    let senders = (0..50).map(|number| {
        let process = Arc::clone(&processes[number % processes.len()]);
        let key = team.key.clone();
        let input = json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": "order-1" });
        tokio::spawn(async move { process.send(&key, input).await })
    });
    let answers = join_all(senders.collect::<Vec<_>>()).await;

    assert_charged_once(&processes[0], answers).await;
}

/// Deposits equal balances plus spending in every snapshot of the database, while two processes send, refund, top up,
/// and change limits, keys and statuses. The environment variable `TOLLGATE_BANK_SECONDS` sets the duration.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_equal_balances_plus_spending_at_every_moment(t: &Arc<TestApp>) {
    let seconds = std::env::var("TOLLGATE_BANK_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(4);
    let until = Instant::now() + Duration::from_secs(seconds);
    t.set_sms_price(3 * MICROS_PER_CENT).await;
    let team = Arc::new(t.team(2_000).await);
    let mut subs = Vec::new();
    for _ in 0..6 {
        subs.push(t.sub_account(&team, json!({ "creditLimit": 200 })).await);
    }
    let subs = Arc::new(subs);
    let processes = t.processes(Setup::default()).await;
    let accepted = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));

    let mut tasks = Vec::new();
    for (number, process) in processes.iter().enumerate() {
        for seed in 0..6_u64 {
            let (t, subs, team) = (Arc::clone(process), Arc::clone(&subs), Arc::clone(&team));
            let accepted = Arc::clone(&accepted);
            let mut rng = StdRng::seed_from_u64(seed * 2 + number as u64);
            tasks.push(tokio::spawn(async move {
                while Instant::now() < until {
                    move_money(&t, &team, &subs, &mut rng, &accepted).await;
                }
            }));
        }
    }
    let reader = {
        let (t, is_over) = (Arc::clone(&processes[0]), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut snapshots = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(t.number(DEVIATION).await, 0, "after {snapshots} snapshots");
                snapshots += 1;
            }
            snapshots
        })
    };
    for task in tasks {
        task.await.expect("no task panics");
    }
    is_over.store(true, Ordering::Relaxed);
    let snapshots = reader.await.expect("the totals always agree");

    assert!(snapshots > 10, "{snapshots} snapshots are too few");
    let messages = processes[0].number("SELECT COUNT(*) FROM message").await;
    assert_eq!(messages, i64::try_from(accepted.load(Ordering::Relaxed)).expect("a small number"));
}

/// Selects the sum of two differences, both of which must be 0. The first is deposits less balances less the cost of
/// all messages. The second is the sub-accounts' total spent less the cost of the sub-accounts' messages.
const DEVIATION: &str = "SELECT CAST( \
     ABS((SELECT SUM(amount_micros) FROM ledger_entry WHERE kind IN ('TOP_UP', 'ADJUSTMENT')) \
       - (SELECT SUM(balance_micros) FROM team) \
       - (SELECT COALESCE(SUM(cost_micros), 0) FROM message WHERE refunded_at IS NULL)) \
     + ABS((SELECT SUM(total_spent_micros) FROM account) \
       - (SELECT COALESCE(SUM(cost_micros), 0) FROM message m JOIN account a ON a.id = m.account_id \
          WHERE refunded_at IS NULL AND a.is_sub_account)) AS BIGINT)";

/// Makes one random payment or one random change to a sub-account.
async fn move_money(
    t: &TestApp,
    team: &TestTeam,
    subs: &[TestSubAccount],
    rng: &mut StdRng,
    accepted: &AtomicU64,
) {
    let sub = &subs[rng.random_range(0..subs.len())];
    let change = |field: &str, input: &str| {
        format!(
            "mutation {{ {field}(account: {{ id: \"{}\" }}{input}) {{ errors {{ code }} }} }}",
            sub.id
        )
    };
    let answer: Answer = match rng.random_range(0..100) {
        0..60 => {
            // One message in three fails and is refunded.
            let to = if rng.random_range(0..3) == 0 { "+15005550001" } else { "+12025550123" };
            let key = if rng.random_range(0..4) == 0 { &team.key } else { &sub.key };
            let answer = t.send(key, json!({ "to": to, "text": "Hi" })).await;
            let is_accepted = answer.codes().is_empty() && answer.refusals().is_empty();
            accepted.fetch_add(u64::from(is_accepted), Ordering::Relaxed);
            answer
        }
        60..75 => {
            t.deliver_due().await;
            return;
        }
        75..80 => t.top_up(team, json!(50), &rng.random::<u64>().to_string()).await,
        80..88 => {
            let limit = rng.random_range(0..2_000);
            let input = format!(", input: {{ creditLimit: {limit} }}");
            t.ask(&team.key, &change("updateSubAccount", &input)).await
        }
        88..92 => t.ask(&team.key, &change("suspendSubAccount", "")).await,
        92..97 => t.ask(&team.key, &change("reactivateSubAccount", "")).await,
        _ => {
            let rotate = "mutation($id: ID!) { rotateApiKey(id: $id, input: { graceSeconds: 3600 }) \
                          { errors { code } } }";
            t.ask_with(&team.key, rotate, json!({ "id": sub.key_id })).await
        }
    };
    assert_eq!(answer.codes(), [""; 0], "{}", answer.body);
}
