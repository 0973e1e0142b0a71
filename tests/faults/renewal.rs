//! `kill -9` of the server while it renews phone numbers: after the next start, the month of each number is
//! charged exactly once.

use std::{collections::BTreeSet, time::Duration};

use chrono::{Months, TimeDelta};
use db_test::db_test;
use entity::{
    ledger_entry::{self, LedgerKind},
    phone_number,
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QuerySelect as _,
    Select, sea_query::Expr,
};
use serde_json::json;
use tollgate::{
    clock::{Clock as _, SystemClock},
    db::Db,
};
use uuid::Uuid;

use crate::{
    Database::{self},
    client::Client,
    eventually,
    fixture::{Fixture, READY_WITHIN},
    load::Journal,
    report, scale,
    server::run,
};

/// Number of phone numbers. The server renews a hundred at a time, so this number needs several batches.
const NUMBERS: u64 = 1_000;
const RENEWED_WITHIN: Duration = Duration::from_secs(20);

/// Imports the numbers, and buys them for the first sub-account.
async fn buy_numbers(fixture: &Fixture) {
    let header = "number,country,type,capabilities,upfront_cents,monthly_cents\n".to_owned();
    let number = |at: u64| format!("+1202555{at:04}");
    let rows = (0..NUMBERS).map(|at| format!("{},US,LOCAL,SMS,100,10\n", number(at)));
    let file = fixture.folder.path.join("numbers.csv");
    std::fs::write(&file, rows.fold(header, |all, row| all + &row)).expect("the folder is ours");
    let file = file.to_str().expect("a path in UTF-8");
    let imported = run(&fixture.folder.path, &fixture.url, &["number", "import", file, "--commit"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));

    let mut client = Client::new(fixture.server.address);
    let purchase = "mutation($input: PurchasePhoneNumberInput!) \
                    { purchasePhoneNumber(input: $input) { phoneNumber { id } errors { code } } }";
    for at in 0..NUMBERS {
        let variables = json!({ "input": { "number": number(at) } });
        let answer =
            client.graphql(&fixture.keys[1], purchase, &variables).await.expect("a response");
        let bought = &answer.json()["data"]["purchasePhoneNumber"]["phoneNumber"]["id"];
        assert!(bought.is_string(), "{}", answer.body);
    }
}

/// Changes the dates of the numbers, so that their first unpaid month began yesterday.
async fn begin_month(db: &Db, months_paid: u32) {
    let yesterday = SystemClock.now() - TimeDelta::days(1);
    let created_at = yesterday - Months::new(months_paid);
    phone_number::Entity::update_many()
        .col_expr(phone_number::Column::CreatedAt, Expr::value(created_at))
        .col_expr(
            phone_number::Column::RenewsAt,
            Expr::value(created_at + Months::new(months_paid)),
        )
        .col_expr(phone_number::Column::ChargedAt, Expr::value(created_at))
        .exec(&db.write)
        .await
        .expect("the dates are changed");
}

fn fees() -> Select<ledger_entry::Entity> {
    ledger_entry::Entity::find().filter(ledger_entry::Column::Kind.eq(LedgerKind::NumberFee))
}

async fn count_fees(db: &Db) -> u64 {
    fees().count(&db.read).await.expect("the fees are counted")
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_renews_numbers_charges_each_month_once(database: Database) {
    let mut fixture = Fixture::start(database).await;
    buy_numbers(&fixture).await;
    let db = Db::connect(&fixture.url, 1).await.expect("the database opens");
    let (rounds, mut interrupted) = (scale(2, 10), 0);

    for months_paid in 1..=rounds {
        fixture.server.kill();
        let before = count_fees(&db).await;
        // The upfront price is charged as month 0.
        assert_eq!(before, NUMBERS * u64::from(1 + months_paid));
        begin_month(&db, months_paid).await;
        fixture.server.start_again();
        eventually(RENEWED_WITHIN, "a month is charged", async || count_fees(&db).await > before)
            .await;
        fixture.server.kill();
        if count_fees(&db).await < before + NUMBERS {
            interrupted += 1;
        }

        fixture.server.start_again();
        let all = before + NUMBERS;
        eventually(RENEWED_WITHIN, "all months are charged", async || count_fees(&db).await >= all)
            .await;
        eventually(READY_WITHIN, "the server is ready again", async || {
            fixture.server.is_ready().await
        })
        .await;
        fixture.check(&mut Journal::default()).await;
    }

    let charged: Vec<(Option<Uuid>, Option<i32>)> = fees()
        .select_only()
        .columns([ledger_entry::Column::PhoneNumberId, ledger_entry::Column::PhoneNumberMonth])
        .into_tuple()
        .all(&db.read)
        .await
        .expect("the fees are read");
    db.close().await.expect("the connections close");
    let once: BTreeSet<_> = charged.iter().collect();
    assert_eq!(once.len(), charged.len(), "a month was charged twice");
    assert_eq!(charged.len() as u64, NUMBERS * u64::from(2 + rounds));
    assert!(interrupted > 0, "no renewal was interrupted");
    report(&format!(
        "server killed during renewals, {database:?}: {rounds} rounds, {interrupted} interrupted a renewal, {} fees",
        charged.len()
    ));
}
