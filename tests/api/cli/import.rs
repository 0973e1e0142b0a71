//! Lists of prices, phone numbers and contacts as CSV. An import of prices or phone numbers is only previewed unless
//! `--commit` is given. An exported file can be imported again.

use db_test::db_test;
use serde_json::{Value, json};

use super::{failure, stdout, tollgate};
use crate::harness::TestApp;

#[db_test]
async fn a_price_import_is_previewed_and_done_with_commit(t: &TestApp) {
    let team = t.team(1000).await;
    let list = stdout(&tollgate(&t.url, &["price", "list"]));
    let countries: std::collections::BTreeSet<_> =
        list.lines().filter_map(|line| line.split(',').nth(2)).collect();
    assert!(countries.len() > 20, "the seeded list has {} countries", countries.len());
    assert!(list.contains("EMAIL,,,0.04\n"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prices.csv");
    let import = |text: &str, commit: bool| {
        std::fs::write(&file, text).expect("the file is written");
        let mut arguments = vec!["price", "import", file.to_str().expect("a path")];
        if commit {
            arguments.push("--commit");
        }
        tollgate(&t.url, &arguments)
    };

    let same = stdout(&import(&list, true));
    assert!(same.contains("0 added, 0 changed, 0 removed."), "{same}");
    let before = t.everything().await;
    for (bad, said) in [
        ("channel,prefix\n", "must name the columns"),
        ("channel,prefix,country,price_cents\n", "has no prices"),
        ("channel,prefix,country,price_cents\nFAX,1,US,1\n", "line 2: \"FAX\" is not a channel"),
        (
            "channel,prefix,country,price_cents\nSMS,+1,US,1\n",
            "line 2: \"+1\" is not a dial prefix",
        ),
        (
            "channel,prefix,country,price_cents\nSMS,1,us,1\n",
            "line 2: \"us\" is not a country code",
        ),
        ("channel,prefix,country,price_cents\nSMS,1,US,-1\n", "line 2: price_cents"),
        ("channel,prefix,country,price_cents\nSMS,1,US,0.00001\n", "more than four decimal places"),
        (
            "channel,prefix,country,price_cents\nSMS,1,US,1\nSMS,1,US,2\n",
            "line 3: duplicate channel and prefix (first on line 2)",
        ),
        (
            "channel,prefix,country,price_cents\nEMAIL,1,,1\n",
            "only SMS and WHATSAPP have dial prefixes",
        ),
        ("channel,prefix,country,price_cents\nSMS,1\n", "the row has 2 fields"),
    ] {
        let (code, error) = failure(&import(bad, true));
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    let shown = "channel,prefix,country,price_cents\nSMS,1,US,2.5\nSMS,1202,US,4\nEMAIL,,,0.04\n";
    let dry = stdout(&import(shown, false));
    assert!(
        dry.contains("+ SMS 1202 US 4 cents ($0.04)")
            && dry.contains("~ SMS 1 US 0.83 cents ($0.0083) -> 2.5 cents ($0.025)"),
        "{dry}"
    );
    assert!(
        dry.contains("- SMS 44 GB 4.2 cents ($0.042)") && dry.contains("Nothing was changed"),
        "{dry}"
    );
    assert_eq!(t.everything().await, before);

    stdout(&import(shown, true));
    for (to, cost) in [("+12025550123", json!(4)), ("+13105550123", json!(2.5))] {
        let sent = t.send(&team.key, json!({ "to": to, "text": "Hi" })).await;
        assert_eq!(sent.data()["sendMessage"]["message"]["cost"], cost, "the longest prefix wins");
    }
    let sent = t.send(&team.key, json!({ "to": "+447911123456", "text": "Hi" })).await;
    assert_eq!(sent.refusals(), ["NO_PRICE"]);
}

/// The output of `number list` shows which account has which phone number.
#[db_test]
async fn a_phone_number_import_is_previewed_and_done_with_commit(t: &TestApp) {
    const HEADER: &str = "number,country,type,capabilities,upfront_cents,monthly_cents\n";
    let team = t.team(1000).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("numbers.csv");
    let import = |rows: &str, commit: bool| {
        std::fs::write(&file, rows).expect("the file is written");
        let mut arguments = vec!["number", "import", file.to_str().expect("a path")];
        if commit {
            arguments.push("--commit");
        }
        tollgate(&t.url, &arguments)
    };
    let list = || stdout(&tollgate(&t.url, &["number", "list"]));
    let before = t.everything().await;

    let file_of = |rows: &str| format!("{HEADER}{rows}\n");
    for (bad, said) in [
        ("number,country\n".to_owned(), "must name the columns"),
        (HEADER.to_owned(), "has no numbers"),
        (file_of("12025550101,US,LOCAL,SMS,1,1"), "line 2: \"12025550101\" is not a valid number"),
        (file_of("+12025550101,us,LOCAL,SMS,1,1"), "line 2: \"us\" is not a country code"),
        (file_of("+12025550101,US,SHORT,SMS,1,1"), "line 2: \"SHORT\" is not a valid type"),
        (file_of("+12025550101,US,LOCAL,FAX,1,1"), "line 2: \"FAX\" is not a valid capability"),
        (file_of("+12025550101,US,LOCAL,,1,1"), "line 2: capabilities is empty"),
        (file_of("+12025550101,US,LOCAL,SMS,-1,1"), "line 2: upfront_cents"),
        (file_of("+12025550101,US,LOCAL,SMS,1,0.00001"), "line 2: monthly_cents"),
        (
            file_of("+12025550101,US,LOCAL,SMS,1,1\n+1 202 555 0101,US,LOCAL,SMS,1,1"),
            "line 3: duplicate number (first on line 2)",
        ),
        (
            file_of("+12025550101,US,LOCAL,SMS,1,1\n+12025550102,US,LOCAL,SMS,1,x\nx,,,,,"),
            "line 3: monthly_cents: the amount is not a decimal number\n  line 4:",
        ),
    ] {
        let (code, error) = failure(&import(&bad, true));
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    let rows = format!(
        "{HEADER}+12025550102,US,TOLL_FREE,SMS WHATSAPP,0,250.5\n+1 (202) 555-0101,US,LOCAL,SMS,100,200\n"
    );
    let dry = stdout(&import(&rows, false));
    assert!(
        dry.contains(
            "+ +12025550101 US LOCAL SMS: 100 cents ($1.00) + 200 cents ($2.00) a month\n"
        ),
        "{dry}"
    );
    assert!(dry.contains("2 added, 0 changed, 0 unchanged.\nNothing was changed"), "{dry}");
    assert_eq!(t.everything().await, before);

    stdout(&import(&rows, true));
    let bought = t.purchase(&team.key, json!({ "number": "+12025550101" })).await;
    assert_eq!(bought.refusals(), [""; 0]);
    let listed = format!(
        "number,country,type,capabilities,upfront_cents,monthly_cents,status,account_id,renews_at\n\
         +12025550101,US,LOCAL,SMS,100,200,ACTIVE,{},2026-04-16T12:00:00+00:00\n\
         +12025550102,US,TOLL_FREE,SMS WHATSAPP,0,250.5,AVAILABLE,,\n",
        team.main_account_id
    );
    assert_eq!(list(), listed);
    // The output of `number list` can be imported. Phone numbers that are not in the imported file stay in stock.
    let same = stdout(&import(&listed, true));
    assert!(same.contains("0 added, 0 changed, 2 unchanged."), "{same}");
    let changed = stdout(&import(&file_of("+12025550101,US,LOCAL,SMS,100,900"), true));
    assert!(
        changed.contains("100 cents ($1.00) + 200 cents ($2.00) a month -> +12025550101"),
        "{changed}"
    );
    assert_eq!(list(), listed.replace(",100,200,", ",100,900,"));
    // The account that bought the number still pays the price from the time of the purchase.
    t.step(chrono::TimeDelta::days(31));
    t.renew().await;
    let balance = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(balance.data()["balance"]["balance"], 500);

    for (number, said) in [
        ("+12025550101", "its account keeps the number until releasing it"),
        ("+1 202 555 0102", "+12025550102 was removed from the inventory."),
    ] {
        let withdrawn = stdout(&tollgate(&t.url, &["number", "withdraw", number]));
        assert!(withdrawn.contains(said), "{withdrawn}");
    }
    let (_, error) = failure(&tollgate(&t.url, &["number", "withdraw", "+12025550102"]));
    assert!(error.contains("no such number in the inventory"), "{error}");
    assert_eq!(list().lines().count(), 1, "a header");
    let id = &bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"];
    let release = format!("mutation {{ releasePhoneNumber(id: {id}) {{ errors {{ code }} }} }}");
    assert_eq!(t.ask(&team.key, &release).await.refusals(), [""; 0]);
    for number in ["+12025550101", "+12025550102"] {
        let refused = t.purchase(&team.key, json!({ "number": number })).await;
        assert_eq!(refused.refusals(), ["NUMBER_UNAVAILABLE"]);
    }
    stdout(&import(&rows, true));
    let bought = t.purchase(&team.key, json!({ "number": "+12025550101" })).await;
    assert_eq!(bought.refusals(), [""; 0]);
}

/// A refused row does not prevent the import of other rows.
#[db_test]
async fn contacts_are_imported_with_a_verdict_per_row_and_exported(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("contacts.csv");
    let path = file.to_str().expect("a path").to_owned();
    let rows = "sms,display_name,tags,metadata,email,telegram\n\
        +1 202 555 0101 #work,'=Ada,\"vip\nb\",\"{\"\"k\"\": 1}\",\"a@b.io\n'=c@d.io\",-100\n\
        nonsense,Bob,,,,\n\
        +12025550102,'t Hooft,,,,\n\
        +12025550101,Twice,,,,\n\
        too,few\n\
        +12025550103,,,[1],,\n";
    std::fs::write(&file, rows).expect("the file is written");
    let import = |path: &str, account: &str| {
        tollgate(&t.url, &["contact", "import", "--account", account, path])
    };

    let done = import(&path, &sub.id);

    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("4 of 6 rows were refused"), "{said}");
    let verdicts = String::from_utf8(done.stdout).expect("text");
    let mut reader = csv::Reader::from_reader(verdicts.as_bytes());
    let verdicts: Vec<(String, bool, String)> = reader
        .records()
        .map(|record| record.expect("a record"))
        .map(|record| (record[0].to_owned(), record[1].is_empty(), record[2].to_owned()))
        .collect();
    let verdict =
        |line: &str, is_refused, code: &str| (line.to_owned(), is_refused, code.to_owned());
    let expected = [
        verdict("2", false, ""),
        verdict("5", true, "ADDRESS_INVALID"),
        verdict("6", false, ""),
        verdict("7", true, "ADDRESS_TAKEN"),
        verdict("8", true, "ROW_INVALID"),
        verdict("9", true, "ROW_INVALID"),
    ];
    assert_eq!(verdicts, expected);
    let query =
        "{ contacts { nodes { displayName tags metadata addresses { channel address label } } } }";
    let contacts = t.ask(&sub.key, query).await.body;
    let first = json!({ "displayName": "=Ada", "tags": ["b", "vip"], "metadata": { "k": 1 }, "addresses": [
        { "channel": "SMS", "address": "+12025550101", "label": "work" },
        { "channel": "EMAIL", "address": "a@b.io", "label": null },
        { "channel": "EMAIL", "address": "'=c@d.io", "label": null },
        { "channel": "TELEGRAM", "address": "-100", "label": null },
    ] });
    assert_eq!(contacts["data"]["contacts"]["nodes"][1], first);
    assert_eq!(contacts["data"]["contacts"]["nodes"][0]["displayName"], "'t Hooft");

    // An export can be imported into another account unchanged.
    let exported = stdout(&tollgate(&t.url, &["contact", "export", "--account", &sub.id]));
    std::fs::write(&file, &exported).expect("the file is written");
    stdout(&import(&path, &team.main_account_id));
    let again = t.ask(&team.key, query).await.body;
    let reversed = |body: &Value| {
        let mut nodes = body["data"]["contacts"]["nodes"].as_array().expect("nodes").clone();
        nodes.reverse();
        nodes
    };
    assert_eq!(json!(reversed(&again)), contacts["data"]["contacts"]["nodes"]);
    let before = t.everything().await;
    assert_eq!(import(&path, &sub.id).status.code(), Some(2));

    let too_many = format!("sms\n{}", "+12025550104\n".repeat(10_001));
    for (rows, account, said) in [
        ("name,sms\nA,+12025550104\n", sub.id.as_str(), "unknown column \"name\""),
        (too_many.as_str(), sub.id.as_str(), "more than 10000 rows"),
        ("sms\n+12025550104\n", "019a0000-0000-7000-8000-000000000000", "no account has this id"),
    ] {
        std::fs::write(&file, rows).expect("the file is written");
        let (code, error) = failure(&import(&path, account));
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    assert_eq!(t.everything().await, before);
}

/// The program checks the nesting before parsing. Without this check, the JSON library would parse each level of
/// nesting with a fresh recursion limit.
#[db_test]
async fn nested_json_in_a_cell_does_not_crash_the_program(t: &TestApp) {
    let team = t.team(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("contacts.csv");
    let mut bomb = "1".to_owned();
    for _ in 0..400 {
        let text = bomb.replace('\\', r"\u005c").replace('"', r"\u0022");
        bomb = format!(r#"{{"$serde_json::private::RawValue":"{text}"}}"#);
    }
    let rows = format!("sms,metadata\n+12025550101,\"{}\"\n", bomb.replace('"', "\"\""));
    std::fs::write(&file, rows).expect("the file is written");

    let path = file.to_str().expect("a path");
    let done = tollgate(&t.url, &["contact", "import", "--account", &team.main_account_id, path]);

    assert_eq!(done.status.code(), Some(2), "{}", String::from_utf8_lossy(&done.stderr));
    let verdicts = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(verdicts.contains("ROW_INVALID") && verdicts.contains("reserved"), "{verdicts}");
    let contacts = t.ask(&team.key, "{ contacts { totalCount } }").await;
    assert_eq!(contacts.data()["contacts"]["totalCount"], json!(0));
}
