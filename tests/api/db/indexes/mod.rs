//! Lists stay fast as they grow. With 100,000 rows in each table, a statement that reads a list never reads a whole
//! table, and in most lists an index provides the order in both directions. The polls of the worker do not read a whole
//! table either.

mod lists;
mod rows;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
};

use db_test::db_test;
use entity::{api_key::Environment, message::MessageStatus};
use lists::{INDEXED, Key, LISTS, NODES, SEARCHES};
use rows::{fill, is_filled};
use sea_orm::{
    ConnectionTrait, DbBackend, QuerySelect as _, QueryTrait as _, Statement, TransactionTrait as _,
};
use tollgate::{
    db::{
        POSTGRES_READER_OPTIONS,
        row_security::{SERVER, SYSTEM},
    },
    domain::{
        billing,
        message::{
            backlog,
            delivery::{self, poll::ClaimRequest},
            quiet_hours, test_retention,
        },
        phone_number,
    },
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::harness::{NOON, TestApp, log_to};

/// A log subscriber that collects the SQL of the logged statements.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<BTreeSet<String>>>);

impl Subscriber for Texts {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.fields().field("sql").is_some()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "sql" {
            self.0.lock().expect("no test panics with this lock").insert(text.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Returns the database's plan for a statement.
async fn explained<C: ConnectionTrait>(db: &C, statement: Statement) -> String {
    let (explain, place) = match db.get_database_backend() {
        DbBackend::Postgres => ("EXPLAIN", 0),
        _ => ("EXPLAIN QUERY PLAN", 3),
    };
    let explain = Statement { sql: format!("{explain} {}", statement.sql), ..statement };
    let lines = db.query_all_raw(explain).await.expect("the plan");
    let lines = lines.iter().map(|line| line.try_get_by_index(place).expect("a line"));
    lines.collect::<Vec<String>>().join("\n")
}

/// Returns the plan of a statement for arbitrary parameter values. On PostgreSQL, the statement is planned for `role`.
/// For the role of the server, the plan includes the policies of row security.
async fn plan(t: &TestApp, sql: &str, role: &str) -> String {
    let backend = t.app.db.backend();
    if backend == DbBackend::Sqlite {
        return explained(&t.app.db.write, Statement::from_string(backend, sql)).await;
    }
    let parameters = (1..100).take_while(|n| sql.contains(&format!("${n}"))).count();
    let nulls = vec!["NULL"; parameters].join(", ");
    let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let txn = t.app.db.write.begin().await.expect("a transaction");
    let set = "SET LOCAL plan_cache_mode = force_generic_plan";
    txn.execute_unprepared(set).await.expect("the setting");
    for (name, value) in POSTGRES_READER_OPTIONS {
        let set = format!("SET LOCAL {name} = '{value}'");
        txn.execute_unprepared(&set).await.expect("the setting");
    }
    txn.execute_unprepared(&format!("SET LOCAL ROLE {role}")).await.expect("the role");
    txn.execute_unprepared(&format!("PREPARE asked AS {sql}")).await.expect("a statement");
    let execute = Statement::from_string(backend, format!("EXECUTE asked{nulls}"));
    let plan = explained(&txn, execute).await;
    txn.execute_unprepared("DEALLOCATE asked").await.expect("the statement is deallocated");
    plan
}

fn reads_a_whole_table(line: &str) -> bool {
    let scanned = |prefix: &str| {
        let (_, rest) = line.split_once(prefix)?;
        let mut words = rest.split_whitespace();
        is_filled(words.next()?).then(|| !rest.contains("USING"))
    };
    scanned("Seq Scan on ").or_else(|| scanned("SCAN ")).unwrap_or(false)
}

fn sorts(line: &str) -> bool {
    line.contains("Sort") || line.contains("TEMP B-TREE FOR ORDER BY")
}

/// Each list is read from the start and from the end.
#[db_test]
async fn no_list_of_100000_rows_reads_a_whole_table(t: &TestApp) {
    let team = t.team(1_000).await;
    fill(t, &team.id).await;
    let sub = t.api_key(&team, "00000002-0000-7000-8000-000000000007", "TEST").await;

    let mut faults = Vec::new();
    for list in LISTS {
        let key = match list.key {
            Key::Main => &team.key,
            Key::Sub => &sub,
            Key::Operator => &t.operator,
        };
        let cursor = {
            let query = list.query.replace("PAGE", "first: 1").replace("NODES", "edges { cursor }");
            let answer = t.ask(key, &format!("{{ {query} }}")).await;
            assert!(answer.codes().is_empty(), "{query}: {}", answer.body);
            first_cursor(&answer.body)
        };
        let cursor = cursor.unwrap_or_else(|| panic!("{} has rows", list.query));
        let pages = [
            "first: 2".to_owned(),
            "last: 2".to_owned(),
            format!("first: 2, after: \"{cursor}\""),
            format!("last: 2, before: \"{cursor}\""),
        ];
        for page in pages {
            let query = list.query.replace("PAGE", &page).replace("NODES", NODES);
            faults.extend(faults_of(t, key, &query, list.is_plain).await);
        }
    }
    for (key, query, mark, index) in INDEXED {
        let key = if matches!(key, Key::Main) { &team.key } else { &sub };
        let query = query.replace("NODES", NODES);
        let texts = texts_of(t, key, &query).await;
        let mut texts: Vec<_> = texts.into_iter().filter(|text| text.contains(mark)).collect();
        assert!(!texts.is_empty(), "{query}: no statement has {mark}");
        for text in texts.drain(..) {
            let plan = plan(t, &text, SERVER).await;
            if !plan.contains(index) {
                faults.push(format!("{query} does not go by {index}\n{text}\n{plan}\n"));
            }
        }
    }
    for search in SEARCHES {
        faults.extend(faults_of(t, &sub, search, true).await);
    }
    // The polls of the worker must not read messages scheduled for later, phone numbers that are due in a later month,
    // or TEST messages that are still stored.
    let (now, backend) = (NOON.parse().expect("a time"), t.app.db.backend());
    let team_id = team.id.parse().expect("an id");
    let account = "00000002-0000-7000-8000-000000000007".parse().expect("an id");
    let mut looks = vec![
        ("message_turns", delivery::poll::statement(backend, &[], now)),
        ("phone_number_due", phone_number::renewal::due(now, None).limit(100).build(backend)),
        ("account_backlog", backlog::pending(None).into_statement(backend)),
        ("message_waiting", billing::waiting(team_id, account).limit(500).build(backend)),
        ("message_test_kept", test_retention::ended(now, None).limit(500).build(backend)),
        ("message_put_off", quiet_hours::postponed(account, account).limit(500).build(backend)),
    ];
    let wanted = |is_suspended| ClaimRequest {
        number: 0,
        environment: Environment::Test,
        status: MessageStatus::Scheduled,
        team_id,
        account_id: account,
        is_suspended,
        count: 256,
    };
    for (index, is_suspended) in [("message_turns", false), ("message_expiring", true)] {
        let taken =
            delivery::poll::take_statements(backend, &[wanted(is_suspended)], is_suspended, now);
        looks.extend(taken.into_iter().map(|statement| (index, statement)));
    }
    for (index, look) in looks {
        for plan in [plan(t, &look.sql, SYSTEM).await, explained(&t.app.db.read, look).await] {
            if !plan.contains(index) || plan.lines().any(|line| reads_a_whole_table(line.trim())) {
                faults.push(format!("a worker's look\n{plan}\n"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(t.deliver_due().await, 0);
}

/// Runs a query, and returns the SQL of the statements.
async fn texts_of(t: &TestApp, key: &str, query: &str) -> BTreeSet<String> {
    let texts = Texts::default();
    {
        let _here = log_to(texts.clone());
        let answer = t.ask(key, &format!("{{ {query} }}")).await;
        assert!(answer.codes().is_empty(), "{query}: {}", answer.body);
    }
    let texts = texts.0.lock().expect("no test panics with this lock").clone();
    assert!(!texts.is_empty(), "{query}: no statement was seen");
    texts
}

/// Runs a query, and returns the statements that read a whole table. If `is_plain` is true, statements that sort are
/// also returned.
async fn faults_of(t: &TestApp, key: &str, query: &str, is_plain: bool) -> Vec<String> {
    let texts = texts_of(t, key, query).await;
    let role = if key == t.operator { SYSTEM } else { SERVER };
    let mut faults = Vec::new();
    for text in texts {
        let plan = plan(t, &text, role).await;
        let is_bad = |line: &str| (is_plain && sorts(line)) || reads_a_whole_table(line.trim());
        if plan.lines().any(is_bad) {
            faults.push(format!("{query}\n{text}\n{plan}\n"));
        }
    }
    faults
}

fn first_cursor(answer: &serde_json::Value) -> Option<String> {
    match answer {
        serde_json::Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            match value.as_str().filter(|_| name == "cursor") {
                Some(cursor) => Some(cursor.to_owned()),
                None => first_cursor(value),
            }
        }),
        serde_json::Value::Array(items) => items.iter().find_map(first_cursor),
        _ => None,
    }
}

/// The test fails if a connection of the schema is not in `LISTS`.
#[test]
fn every_connection_of_the_schema_is_in_the_list() {
    let sdl = tollgate::graphql::sdl();
    let mut of_type = "";
    let mut field = "";
    let mut found = BTreeSet::new();
    for line in sdl.lines() {
        if let Some(name) = line.strip_prefix("type ") {
            of_type = name.trim_end_matches(" {");
        } else if let Some(rest) = line.strip_prefix('\t')
            && rest.starts_with(|first: char| first.is_ascii_lowercase())
        {
            field = rest.split(['(', ':']).next().unwrap_or_default();
        }
        if line.ends_with("Connection!") {
            found.insert(format!("{of_type}.{field}"));
        }
    }
    let listed = LISTS.iter().flat_map(|list| list.fields).map(|field| (*field).to_owned());
    assert_eq!(found, listed.collect());
}
