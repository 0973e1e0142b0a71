//! CSV files that are not valid lists of prices, phone numbers or contacts, and the limits for valid files.

use std::{path::Path, process::Output};

use db_test::db_test;
use serde_json::{Value, json};

use super::tollgate;
use crate::harness::TestApp;

const PRICES: &str = "channel,prefix,country,price_cents";
const NUMBERS: &str = "number,country,type,capabilities,upfront_cents,monthly_cents";

/// Imports a file that must be refused, and returns the error.
#[track_caller]
fn refused(url: &str, command: &[&str], file: &Path) -> String {
    let file = file.to_str().expect("a path");
    let Output { status, stderr, .. } = tollgate(url, &[command, &[file]].concat());
    assert_eq!(status.code(), Some(2));
    String::from_utf8(stderr).expect("text")
}

/// The line number is the one that an editor shows. The error does not repeat long cells.
#[db_test(sqlite)]
async fn a_file_that_is_not_a_valid_list_is_refused_with_the_line(t: &TestApp) {
    let team = t.team(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("list.csv");
    let before = t.everything().await;
    let price = |price: &str| format!("{PRICES}\nSMS,1,US,{price}\n");
    let number = |row: &str| format!("{NUMBERS}\n{row}\n");
    let long = "9".repeat(100_000);
    let (prices, numbers) = (["price", "import"], ["number", "import"]);
    let contacts = ["contact", "import", "--account", &team.main_account_id];

    for (command, text, said) in [
        (&prices[..], price("-0"), "line 2: price_cents: the price must not be negative"),
        (&prices, price("5."), "line 2: price_cents: the amount is not a decimal number"),
        (&prices, price("1e3"), "line 2: price_cents: \"1e3\" is not a price"),
        (&prices, price("05"), "line 2: price_cents: \"05\" is not a price"),
        (&prices, format!("{PRICES}\nSMS,01,US,1\n"), "line 2: \"01\" is not a dial prefix"),
        (&prices, format!("{PRICES}\nWHATSAPP,0,,1\n"), "line 2: \"0\" is not a dial prefix"),
        (&prices, format!("{PRICES},prefix\nSMS,1,US,1,2\n"), "duplicate column \"prefix\""),
        (&prices, format!("{PRICES}\r\nSMS,1,US,1\r\nSMS,2,US,x\r\n"), "\n  line 3: price_cents"),
        (&prices, format!("{PRICES}\r\nSMS,1\r\n"), "line 2: the row has 2 fields"),
        (
            &numbers,
            number("+12025550101,US,LOCAL,SMS,1e3,1"),
            "line 2: upfront_cents: \"1e3\" is not",
        ),
        (
            &numbers,
            number("+12025550101,US,LOCAL,SMS,1,-0"),
            "line 2: monthly_cents: the price must not",
        ),
        (
            &numbers,
            format!("{NUMBERS},number\n+12025550101,US,LOCAL,SMS,1,1,+12025550102\n"),
            "duplicate column \"number\"",
        ),
        (
            &numbers,
            format!("{NUMBERS}\r\n+12025550101,US,LOCAL,SMS,1,1\r\n\r\nx,US,LOCAL,SMS,1,1\r\n"),
            "\n  line 4: \"x\" is not a valid number",
        ),
        (
            &contacts,
            "sms,display_name,sms\n+12025550101,A,\n".to_owned(),
            "duplicate column \"sms\"",
        ),
        (&contacts, ",".repeat(100), "line 1: the row has more than 100 columns"),
        (&prices, format!("{PRICES}\nSMS,1,US,1\n{}", ",".repeat(100)), "line 3: the row has"),
        (
            &numbers,
            format!("{NUMBERS}\n\"{}", "+12025550101\n".repeat(400_000)),
            "line 2: the row is larger than 4 MiB; check for an unclosed quotation mark",
        ),
    ] {
        std::fs::write(&file, text).expect("the file is written");
        let error = refused(&t.url, command, &file);
        assert!(error.contains(said), "{said}: {error}");
    }
    for (command, text) in [
        (&numbers[..], number(&format!("+{long},US,LOCAL,SMS,1,1"))),
        (&numbers, number(&format!("+12025550101,US,{long},SMS,1,1"))),
        (&numbers, number(&format!("+12025550101,US,LOCAL,SMS,{long},1"))),
        (&numbers, number(&format!("+12025550101,US,LOCAL,SMS,1,{long}e3"))),
        (&prices, format!("{PRICES}\n{long},1,US,1\n")),
        (&prices, format!("{PRICES}\nSMS,{long},US,1\n")),
        (&prices, format!("{PRICES}\n{}", "SMS,1,US,x\n".repeat(10_000))),
        (&contacts, format!("{long}\n1\n")),
        (&prices, ",".repeat(100_000)),
        (&contacts, format!("sms\n\"{}", "+12025550101\n".repeat(400_000))),
    ] {
        std::fs::write(&file, text).expect("the file is written");
        let error = refused(&t.url, command, &file);
        assert!(error.len() < 8_000, "{} bytes are said", error.len());
    }
    assert_eq!(t.everything().await, before);
}

#[db_test(sqlite)]
async fn verdicts_name_the_line_of_a_row_in_a_file_from_a_spreadsheet(t: &TestApp) {
    let team = t.team(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("contacts.csv");
    let rows = "display_name,sms\r\nAda,+12025550123\r\n\"Bob\r\nB\",nonsense\r\nEve,nonsense\r\n";
    std::fs::write(&file, rows).expect("the file is written");

    let file = file.to_str().expect("a path");
    let import = ["contact", "import", "--account", &team.main_account_id, file];
    let said = String::from_utf8(tollgate(&t.url, &import).stdout).expect("text");

    let lines: Vec<&str> = said.lines().map(|line| line.split(',').next().unwrap_or("")).collect();
    assert_eq!(lines, ["line", "2", "3", "5"], "{said}");
}

#[db_test(sqlite)]
async fn a_file_that_is_too_large_or_has_too_many_rows_is_refused(t: &TestApp) {
    let team = t.team(0).await;
    let before = t.everything().await;
    let endless = Path::new("/dev/zero");
    let contacts = ["contact", "import", "--account", &team.main_account_id];
    for command in [&["price", "import"][..], &["number", "import"], &contacts] {
        let error = refused(&t.url, command, endless);
        assert!(error.contains("the file is larger than 64 MiB"), "{error}");
    }

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("many.csv");
    for (command, head, row, said) in [
        ("price", PRICES, "SMS,N,US,1\n", "line 100002: the list has more than 100000 prices"),
        (
            "number",
            NUMBERS,
            "+12N,US,LOCAL,SMS,1,1\n",
            "line 100002: the file has more than 100000 numbers",
        ),
    ] {
        let rows = |count: usize| {
            let rows = (0..count).map(|at| row.replace('N', &(1_000_000 + at).to_string()));
            format!("{head}\n{}", rows.collect::<String>())
        };
        std::fs::write(&file, rows(100_001)).expect("the file is written");
        let error = refused(&t.url, &[command, "import"], &file);
        assert!(error.contains(said), "{error}");
        std::fs::write(&file, rows(100_000)).expect("the file is written");
        let shown = tollgate(&t.url, &[command, "import", file.to_str().expect("a path")]);
        let shown = String::from_utf8(shown.stdout).expect("text");
        assert!(shown.contains("100000 added"), "{}", &shown[shown.len().saturating_sub(200)..]);
    }
    assert_eq!(t.everything().await, before);
}

/// Duplicate lines count towards the limit. A cell that is within the limit must also follow the rules for contacts.
#[db_test(sqlite)]
async fn a_cell_has_at_most_100_lines(t: &TestApp) {
    let team = t.team(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("contacts.csv");
    let row = |tags: &str, sms: &str| format!("\"{tags}\",\"{sms}\"\n");
    let numbers = |count: usize| {
        (0..count).map(|at| format!("+1202555{:04}\n", 1000 + at)).collect::<String>()
    };
    let rows = [
        "tags,sms\n".to_owned(),
        row(&"a\n".repeat(100), "+12025550101"),
        row(&"a\n".repeat(101), "+12025550102"),
        row("a", &numbers(21)),
        row("a", &numbers(101)),
        row("b", "+12025550103"),
    ];
    std::fs::write(&file, rows.concat()).expect("the file is written");

    let file = file.to_str().expect("a path");
    let import = ["contact", "import", "--account", &team.main_account_id, file];
    let said = tollgate(&t.url, &import).stdout;

    let mut said = csv::Reader::from_reader(said.as_slice());
    let verdicts = said.records().map(|record| record.expect("a record"));
    let verdicts: Vec<_> =
        verdicts.map(|record| [record[2].to_owned(), record[3].to_owned()]).collect();
    let expected = [
        ["", ""],
        ["ROW_INVALID", "tags has more than 100 lines"],
        ["ADDRESS_COUNT_INVALID", "A contact must have 1 to 20 addresses."],
        ["ROW_INVALID", "sms has more than 100 lines"],
        ["", ""],
    ];
    assert_eq!(verdicts, expected.map(|verdict| verdict.map(str::to_owned)));
    let contacts = t.ask(&team.key, "{ contacts { nodes { tags } } }").await;
    assert_eq!(contacts.data()["contacts"]["nodes"], json!([{ "tags": ["b"] }, { "tags": ["a"] }]));
}

/// An import leaves one entry in the audit log, however many statements it needs.
#[db_test]
async fn a_list_longer_than_one_statement_is_imported_whole(t: &TestApp) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("list.csv");
    let import = |command: &str, text: String| {
        std::fs::write(&file, text).expect("the file is written");
        let path = file.to_str().expect("a path");
        assert!(tollgate(&t.url, &[command, "import", path, "--commit"]).status.success());
    };
    let rows = |head: &str, row: &str, count: usize| {
        let rows = (0..count).map(|at| row.replace('N', &(1_000_000 + at).to_string()));
        format!("{head}\n{}", rows.collect::<String>())
    };

    import("price", rows(PRICES, "SMS,N,US,1\n", 1_201));
    assert_eq!(t.number("SELECT COUNT(*) FROM price WHERE price_micros = 10000").await, 1_201);
    import("price", rows(PRICES, "SMS,N,US,2\n", 600));
    assert_eq!(t.number("SELECT COUNT(*) FROM price").await, 600);
    assert_eq!(t.number("SELECT COUNT(*) FROM price WHERE price_micros = 20000").await, 600);
    import("number", rows(NUMBERS, "+12N,US,LOCAL,SMS,1,1\n", 1_201));
    import("number", rows(NUMBERS, "+12N,US,LOCAL,SMS,1,1\n", 1_201));
    assert_eq!(t.number("SELECT COUNT(*) FROM inventory_number").await, 1_201);

    let log = "{ auditLog(filter: { action: [IMPORT_PRICES, IMPORT_PHONE_NUMBERS] }) { nodes { after } } }";
    let log = t.ask(&t.operator, log).await;
    let after = |settings: Value| json!({ "after": settings });
    let expected = json!([
        after(json!({ "added": 0, "changed": 0 })),
        after(json!({ "added": 1_201, "changed": 0 })),
        after(json!({ "added": 0, "changed": 600, "removed": 601 })),
    ]);
    let nodes = log.data()["auditLog"]["nodes"].as_array().expect("nodes");
    assert_eq!(json!(nodes[..3]), expected);
}
