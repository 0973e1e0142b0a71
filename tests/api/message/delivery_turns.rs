//! Teams, accounts and environments take turns in delivery. A backlog delays the messages of others by at most one
//! turn, and messages that cannot be sent yet delay no other messages.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use db_test::db_test;
use sea_orm::DbBackend;
use serde_json::json;
use tollgate::domain::message::delivery::{self, CLAIM_CAPACITY};
use uuid::Uuid;

use crate::harness::TestApp;

/// Claims messages. Returns the number of claimed messages per account, and whether more messages are due.
async fn claimed(t: &TestApp) -> (BTreeMap<String, usize>, bool) {
    let claim = delivery::claim(&t.app).await.expect("the messages are claimed");
    let mut by_account = BTreeMap::new();
    for claimed in claim.messages {
        *by_account.entry(claimed.message.account_id.to_string()).or_default() += 1;
    }
    (by_account, claim.has_more)
}

/// If a team or account does not use its whole share, the others can use the rest.
#[db_test]
async fn a_claim_is_shared_fairly_by_teams_and_then_by_accounts(t: &TestApp) {
    let (large, small) = (t.team(10_000).await, t.team(10_000).await);
    let sub = t.sub_account(&large, json!({})).await;
    t.send_many(&large.key, 500, json!({})).await;
    t.send_many(&sub.key, 200, json!({})).await;
    t.send_many(&small.key, 300, json!({})).await;

    let share = |account: &str, count| (account.to_owned(), count);
    let first =
        [share(&large.main_account_id, 64), share(&sub.id, 64), share(&small.main_account_id, 128)];
    assert_eq!(claimed(t).await, (first.into(), true));
    let second =
        [share(&large.main_account_id, 64), share(&sub.id, 64), share(&small.main_account_id, 128)];
    assert_eq!(claimed(t).await, (second.into(), true));
    // Only a few messages of the second team are left, so the first team gets the rest of the claim.
    let (third, has_more) = claimed(t).await;
    assert_eq!(third[&small.main_account_id], 44);
    assert_eq!(third[&large.main_account_id] + third[&sub.id], CLAIM_CAPACITY - 44);
    assert!(has_more);
    let (last, _) = claimed(t).await;
    assert_eq!(last.values().sum::<usize>(), 1_000 - 3 * CLAIM_CAPACITY);
    assert_eq!(claimed(t).await, (BTreeMap::new(), false));
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
}

/// Waiting messages of other accounts and teams, and TEST messages, do not delay an account's only message.
#[db_test]
async fn the_only_message_of_an_account_is_in_the_next_claim(t: &TestApp) {
    let (busy, quiet) = (t.team(10_000).await, t.team(10_000).await);
    let sibling = t.sub_account(&busy, json!({})).await;
    let test = t.api_key(&busy, &busy.main_account_id, "TEST").await;
    t.send_many(&busy.key, 600, json!({})).await;
    t.send_many(&test, 600, json!({})).await;
    t.deliver_due().await;

    for _ in 0..2 {
        assert!(t.sends(&sibling.key).await && t.sends(&quiet.key).await);
        let (one, has_more) = claimed(t).await;
        assert_eq!([one[&sibling.id], one[&quiet.main_account_id]], [1, 1]);
        assert_eq!(one.values().sum::<usize>(), CLAIM_CAPACITY);
        assert!(has_more);
    }
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
}

/// TEST messages also get the capacity that LIVE messages leave unused.
#[db_test]
async fn test_messages_get_an_eighth_of_a_busy_claim(t: &TestApp) {
    let (team, other) = (t.team(10_000).await, t.team(0).await);
    let test = t.api_key(&other, &other.main_account_id, "TEST").await;
    t.send_many(&test, 500, json!({})).await;
    t.send_many(&team.key, 300, json!({})).await;

    let shares = |live: usize, test: usize| {
        let shares = [(team.main_account_id.clone(), live), (other.main_account_id.clone(), test)];
        shares.into_iter().filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(claimed(t).await, (shares(224, 32), true));
    assert_eq!(claimed(t).await, (shares(76, 180), true));
    assert_eq!(claimed(t).await, (shares(0, 256), true));
    assert_eq!(claimed(t).await, (shares(0, 32), false));
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
}

/// After the last team, the polls begin again with the first team.
#[db_test]
async fn with_many_teams_each_poll_continues_after_the_last(t: &TestApp) {
    let mut teams = Vec::new();
    for _ in 0..66 {
        let team = t.team(1_000).await;
        t.send_many(&team.key, 5, json!({})).await;
        teams.push(team.main_account_id);
    }

    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..2 {
        let (one, has_more) = claimed(t).await;
        assert!(one.values().all(|count| (1..=5).contains(count)), "{one:?}");
        assert!(has_more);
        for (account, count) in one {
            *served.entry(account).or_default() += count;
        }
    }
    assert_eq!(served.len(), teams.len(), "each team had a turn within two claims");
    for _ in 0..2 {
        for (account, count) in claimed(t).await.0 {
            *served.entry(account).or_default() += count;
        }
    }
    assert!(served.values().all(|count| *count == 5), "{served:?}");
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
}

#[db_test]
async fn with_many_accounts_each_poll_continues_after_the_last(t: &TestApp) {
    let team = t.team(1_000).await;
    assert!(t.sends(&team.key).await);
    // Each of 700 sub-accounts has one TEST message that is due and one that is due later.
    let (id, hash) = if t.app.db.backend() == DbBackend::Postgres {
        ("(lpad(to_hex(KIND + i), 32, '0'))::uuid", "'\\x00'::bytea")
    } else {
        ("unhex(printf('%032x', KIND + i))", "x'00'")
    };
    let kind = |kind: u32| id.replace("KIND", &kind.to_string());
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 699)";
    t.execute(&format!(
        "INSERT INTO account (id, team_id, is_sub_account, name, status, total_spent_micros, \
           team_balance_visible, search_text, created_at, updated_at) \
         {numbers} SELECT {}, a.team_id, true, 'Sub', 'ACTIVE', 0, true, 'sub', a.created_at, \
           a.updated_at FROM n, account a WHERE true",
        kind(10_000)
    ))
    .await;
    let later = if t.app.db.backend() == DbBackend::Postgres {
        "m.due_at + INTERVAL '1 day'"
    } else {
        "'2026-03-17T12:00:00+00:00'"
    };
    for (first, status, due_at) in [(20_000, "QUEUED", "m.due_at"), (30_000, "SCHEDULED", later)] {
        t.execute(&format!(
            "INSERT INTO message (id, team_id, account_id, api_key_id, environment, channel, \
               status, recipient, text, segments, cost_micros, input_hash, created_at, updated_at, \
               send_at, due_at) \
             {numbers} SELECT {}, m.team_id, {}, m.api_key_id, 'TEST', 'SMS', '{status}', \
               m.recipient, m.text, 1, 0, {hash}, m.created_at, m.updated_at, {due_at}, {due_at} \
             FROM n, message m WHERE m.environment = 'LIVE'",
            kind(first),
            kind(10_000),
        ))
        .await;
    }
    t.count_test_messages().await;

    let mut served = BTreeMap::new();
    for _ in 0..4 {
        served.extend(claimed(t).await.0);
    }
    assert_eq!(served.len(), 701, "each account had a turn within four claims");
    t.step(TimeDelta::days(2));
    t.deliver().await;
    let delivered = "SELECT COUNT(*) FROM message WHERE status = 'DELIVERED'";
    assert_eq!(t.number(delivered).await, 1_401);
}

#[db_test]
async fn suspended_accounts_are_skipped_with_one_statement(t: &TestApp) {
    let team = t.team(10_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&sub.key, 300, json!({})).await;
    t.send_many(&sub.key, 300, json!({ "sendAt": "2026-03-16T12:00:10Z" })).await;
    t.change_status(&team, &sub.id, "suspendSubAccount").await;
    t.step(TimeDelta::seconds(10));

    let before = t.statements();
    assert_eq!(claimed(t).await, (BTreeMap::new(), false));
    assert_eq!(t.statements() - before, 1);
    assert!(t.metrics().await.contains("tollgate_worker_lag_seconds 0.0\n"));
    assert!(t.sends(&team.key).await);
    assert_eq!(claimed(t).await, ([(team.main_account_id.clone(), 1)].into(), false));

    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    let (both, has_more) = claimed(t).await;
    assert_eq!((both, has_more), ([(sub.id.clone(), CLAIM_CAPACITY)].into(), true));
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
    let delivered = "SELECT COUNT(*) FROM message WHERE status = 'DELIVERED'";
    assert_eq!(t.number(delivered).await, 601);
}

/// Messages that were submitted before the suspension are settled. The account's other messages wait until they expire.
#[db_test]
async fn messages_of_a_suspended_account_expire_and_are_refunded(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(10_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    assert!(t.sends(&sub.key).await);
    t.deliver_due().await;
    let until = "2026-03-16T12:01:00Z";
    t.send_many(&sub.key, 300, json!({ "validUntil": until })).await;
    let later = json!({ "sendAt": "2026-03-16T12:00:30Z", "validUntil": until });
    t.send_many(&sub.key, 10, later).await;
    t.send_many(&sub.key, 10, json!({})).await;
    t.change_status(&team, &sub.id, "suspendSubAccount").await;
    t.step(TimeDelta::seconds(1));
    t.deliver().await;
    let count = async |status: &str| {
        t.number(&format!("SELECT COUNT(*) FROM message WHERE status = '{status}'")).await
    };
    assert_eq!([count("DELIVERED").await, count("EXPIRED").await], [1, 0]);

    t.step(TimeDelta::minutes(1));
    // This claim is never settled. The next worker gets its messages after the claim's lease has expired.
    let (cut_off, has_more) = claimed(t).await;
    assert_eq!((cut_off, has_more), ([(sub.id.clone(), CLAIM_CAPACITY)].into(), true));
    t.deliver().await;
    assert_eq!(
        count("EXPIRED").await,
        310 - i64::try_from(CLAIM_CAPACITY).expect("a small number")
    );
    t.step(TimeDelta::seconds(61));
    t.deliver().await;

    assert_eq!([count("EXPIRED").await, count("QUEUED").await], [310, 10]);
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'REFUND'").await, 310);
    let balance = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(balance.data()["balance"]["balance"], 10_000 - 11);
}

#[db_test]
async fn messages_delayed_by_quiet_hours_do_not_use_the_share_of_others(t: &TestApp) {
    let team = t.team(100_000).await;
    let (quiet, awake) =
        (t.sub_account(&team, json!({})).await, t.sub_account(&team, json!({})).await);
    let query = "mutation { setQuietHours(input: { from: \"12:00\", to: \"14:00\", \
                 timeZone: \"Europe/Berlin\" }) { errors { code } } }";
    assert_eq!(t.ask(&quiet.key, query).await.refusals(), [""; 0]);
    t.send_many(&quiet.key, 2_000, json!({})).await;
    t.send_many(&awake.key, 300, json!({})).await;

    // The delayed messages leave a part of the claim unused. This part is shared again, several times, so this account
    // gets 128, 64, 32 and 16 messages.
    let (first, has_more) = claimed(t).await;
    assert_eq!((first, has_more), ([(awake.id.clone(), 240)].into(), true));
    let (second, _) = claimed(t).await;
    assert_eq!(second, [(awake.id.clone(), 60)].into());
    while claimed(t).await.1 {}
    let put_off = "SELECT COUNT(*) FROM message WHERE status = 'SCHEDULED'";
    assert_eq!(t.number(put_off).await, 2_000);
    t.step(TimeDelta::hours(1));
    t.deliver().await;
}

#[db_test]
async fn a_claim_is_limited_in_bytes_and_takes_at_least_one_message_per_account(t: &TestApp) {
    let (team, other) = (t.team(0).await, t.team(0).await);
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let others = t.api_key(&other, &other.main_account_id, "TEST").await;
    // A message of 32 KiB and one byte uses twice the share of a message of up to 32 KiB.
    for (key, count, length) in [(&test, 130, 32 * 1024 + 1), (&others, 2, 32 * 1024)] {
        for _ in 0..count {
            let input = json!({ "to": "ada@example.com", "text": "x".repeat(length) });
            assert_eq!(t.send(key, input).await.refusals(), [""; 0]);
        }
    }

    let (first, has_more) = claimed(t).await;
    let expected = [(team.main_account_id.clone(), 127), (other.main_account_id.clone(), 2)];
    assert_eq!((first, has_more), (expected.into(), true));
    assert_eq!(claimed(t).await, ([(team.main_account_id.clone(), 3)].into(), false));
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_processes_claim_each_message_once(t: &TestApp) {
    let team = t.team(10_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&team.key, 300, json!({})).await;
    t.send_many(&sub.key, 300, json!({})).await;
    let other = t.beside(crate::harness::Setup::default()).await;

    let mut taken: Vec<Uuid> = Vec::new();
    for _ in 0..2 {
        let (one, two) = tokio::join!(delivery::claim(&t.app), delivery::claim(&other.app));
        for claim in [one, two] {
            let claim = claim.expect("the messages are claimed");
            taken.extend(claim.messages.iter().map(|claimed| claimed.message.id));
        }
    }
    let count = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!((taken.len(), count), (600, 600));
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
}
