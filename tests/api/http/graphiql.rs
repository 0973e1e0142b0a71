//! GraphiQL: its page, its files, and the message that is shown if the build does not contain GraphiQL.

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use db_test::db_test;

use crate::harness::{Answer, TestApp};

async fn get(t: &TestApp, path: &str, accept_encoding: &str) -> Answer {
    let request = Request::get(path).header(header::ACCEPT_ENCODING, accept_encoding);
    t.request(request.body(Body::empty()).expect("a request")).await
}

#[track_caller]
fn has(headers: &HeaderMap, expected: &[(header::HeaderName, &str)]) {
    for (name, value) in expected {
        assert_eq!(headers[name], value, "{name}");
    }
}

/// Returns the text into which the harness converts a response that is not JSON.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[db_test(sqlite)]
async fn graphiql_is_served_without_a_key_or_explains_why_it_is_missing(t: &TestApp) {
    for path in ["/graphiql", "/graphiql/"] {
        let answer = get(t, path, "gzip, br").await;
        has(
            &answer.headers,
            &[
                (header::CACHE_CONTROL, "no-cache"),
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
        );
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("a policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-eval"), "{policy}");
        assert!(!policy.contains("http"), "content from other hosts is allowed: {policy}");
        match tollgate_ui::index() {
            Ok(index) => {
                assert_eq!(answer.status, 200);
                assert_eq!(answer.headers[header::CONTENT_ENCODING], "br");
                assert_eq!(answer.body, lossy(index.bytes_brotli));
                assert!(policy.starts_with("default-src 'self';"), "{policy}");
            }
            Err(why) => {
                assert_eq!(answer.status, 503);
                assert!(policy.starts_with("default-src 'none';"), "{policy}");
                let page = answer.body.as_str().expect("a page");
                assert!(page.contains(why), "{page}");
                assert!(!page.contains("<script"), "{page}");
            }
        }
    }
}

#[db_test(sqlite)]
async fn each_file_of_graphiql_is_immutable_and_served_in_every_encoding(t: &TestApp) {
    let index = match tollgate_ui::index() {
        Ok(index) => index,
        Err(why) => return eprintln!("SKIPPED: GraphiQL is left out: {why}"),
    };
    let page = get(t, "/graphiql", "identity").await;
    assert!(!page.headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(page.body, lossy(index.bytes()));

    let page = page.body.as_str().expect("a page");
    let named: Vec<_> =
        page.split('"').filter_map(|part| part.strip_prefix("/graphiql/")).collect();
    assert!(named.len() >= 2, "a script and a style: {page}");
    assert!(named.iter().all(|path| tollgate_ui::asset(path).is_some()), "{named:?}");
    let scripts = ["<script", "<script type=\"module\" ", "></script>"];
    let scripts = scripts.map(|script| page.matches(script).count());
    assert_eq!(scripts, [scripts[0]; 3], "the page runs inline code: {page}");

    for (path, asset) in tollgate_ui::assets() {
        let url = &format!("/graphiql/{path}");
        assert!(!asset.bytes().is_empty(), "{path}");
        for (accepted, body) in [("identity", asset.bytes()), ("br", asset.bytes_brotli)] {
            let answer = get(t, url, accepted).await;
            assert_eq!(answer.status, 200);
            has(
                &answer.headers,
                &[
                    (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                    (header::CONTENT_TYPE, asset.content_type),
                    (header::VARY, "accept-encoding"),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                ],
            );
            let encoding = answer.headers.get(header::CONTENT_ENCODING);
            assert_eq!(encoding.is_some_and(|encoding| encoding == "br"), accepted == "br");
            assert!(answer.body == lossy(body), "{url}: the bytes differ from the built file");
        }
    }
}

#[db_test(sqlite)]
async fn the_root_redirects_to_graphiql_and_no_other_file_is_served(t: &TestApp) {
    let root = get(t, "/", "br").await;
    assert_eq!(root.status, 307);
    assert_eq!(root.headers[header::LOCATION], "/graphiql");
    for path in [
        "/graphiql/assets/",
        "/graphiql/assets/main.js",
        "/graphiql/index.html",
        "/graphiql/../Cargo.toml",
        "/graphiql/assets/..%2f..%2fCargo.toml",
        "/graphiql/%ff",
    ] {
        let answer = get(t, path, "br").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
    let posted = Request::post("/graphiql").body(Body::empty()).expect("a request");
    assert_eq!(t.request(posted).await.status, 405);
}
