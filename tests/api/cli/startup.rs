//! How `serve` and `demo` start, and which settings they refuse.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use super::{demo, failure, stdout, tollgate};
use crate::harness::{Running, text};

/// Sends a request without a key to the sandbox's inbound hook, and returns the HTTP status.
fn status_of_inbound(url: &str) -> String {
    let host = url.trim_start_matches("http://").split('/').next().expect("a host");
    let mut stream = TcpStream::connect(host).expect("the server listens");
    let request = format!(
        "POST /sandbox/inbound HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

/// While the demo runs, `serve` refuses to start with the demo's database. The demo refuses to start with a database
/// that the demo did not create.
#[tokio::test]
async fn the_demo_restarts_on_its_own_data_with_fresh_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("tollgate.db").display());

    let (first, started) = demo(folder.path());
    assert!(text(&started["url"]).starts_with("http://127.0.0.1:"));
    assert_eq!(
        status_of_inbound(&text(&started["url"])),
        "401",
        "the sandbox's hook requires a key"
    );
    let second = tollgate(&url, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(failure(&second).1.contains("served by another process"));
    let keys = started["keys"].as_object().expect("keys").clone();
    assert_eq!(
        keys.keys().collect::<Vec<_>>(),
        ["clientAbc", "clientXyz", "main", "operator", "partnerCo"]
    );
    drop(first);

    let (again, restarted) = demo(folder.path());
    let fresh = restarted["keys"].as_object().expect("keys").clone();
    assert!(fresh.iter().all(|(name, key)| keys[name] != *key));
    drop(again);
    stdout(&tollgate(&url, &["reconcile"]));
    let db = tollgate::db::Db::connect(&url, 1).await.expect("the database opens");
    let (app, _) = tollgate::app::App::new(
        db,
        std::sync::Arc::new(tollgate::clock::SystemClock),
        tollgate::carrier::Carriers::none(),
    );
    for (name, key) in &keys {
        let old = tollgate::domain::api_key::authentication::authenticate(&app, &text(key))
            .await
            .expect("the database answers");
        let new =
            tollgate::domain::api_key::authentication::authenticate(&app, &text(&fresh[name]))
                .await
                .expect("the database answers");
        assert!(old.is_none() && new.is_some(), "{name}");
    }

    stdout(&tollgate(&url, &["team", "create", "--name", "Another"]));
    let refused = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["demo", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .expect("the program starts");
    assert!(failure(&refused).1.contains("this database was not created by the demo"));
}

#[test]
fn a_port_in_use_is_reported_before_a_database_is_created() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tollgate.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());

    let (code, error) = failure(&tollgate(&url, &["serve", "--listen", &address]));

    assert_eq!(code, Some(2));
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert!(!file.exists());
}

#[test]
fn a_word_that_opts_in_cannot_be_configured_as_a_stop_word() {
    let (code, error) =
        failure(&tollgate("sqlite://x.db", &["serve", "--stop-words", "ALTO,start"]));
    assert_eq!(code, Some(2));
    assert!(error.contains("this one is an opt-in keyword"), "{error}");
}

#[test]
fn a_cors_origin_that_no_browser_sends_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tollgate.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    for (origins, said) in [
        ("https://*.example.com", "wildcards are not supported"),
        ("https://app.example.com,http://", "empty host"),
        ("https://a b", "expected an origin such as https://app.example.com"),
        ("https://App.example.com/", "browsers send https://app.example.com"),
    ] {
        let (code, error) = failure(&tollgate(&url, &["serve", "--cors-origins", origins]));
        assert_eq!(code, Some(2));
        assert!(error.contains(said), "{origins}: {error}");
    }
    assert!(!file.exists());
}

/// A demo on a loopback address logs no warning.
#[test]
fn a_demo_that_other_machines_can_reach_logs_a_warning() {
    for (listen, is_reached) in [("0.0.0.0:0", true), ("127.0.0.1:0", false), ("[::1]:0", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["demo", "--json", "--listen", listen, "--data"]).arg(folder.path());
        command.env_remove("DATABASE_URL").stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&log).expect("a file"));
        let mut running = Running(command.spawn().expect("the program starts"));
        let mut line = String::new();
        let stdout = running.0.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let said = std::fs::read_to_string(&log).expect("the log");
        if line.is_empty() && listen.starts_with('[') {
            // The test accepts this error, because the machine may not support IPv6.
            assert!(said.contains("cannot listen"), "{said}");
            continue;
        }
        assert!(line.contains("tg_operator_"), "{line}");
        assert_eq!(said.contains("which other machines may reach"), is_reached, "{listen}: {said}");
        assert!(!said.contains("tg_operator_"), "no key is in the log");
    }
}
