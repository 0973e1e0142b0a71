//! Hostile documents are refused with an error code before anything is executed.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{
    Database, Postgres, Received, Socket, Sqlite, TestApp, doubling, encoded, get, post, sha256_hex,
};

type Cases = Vec<(&'static str, String, &'static str)>;

fn nested(open: &str, leaf: &str, close: &str, times: usize) -> String {
    format!("{}{leaf}{}", open.repeat(times), close.repeat(times))
}

/// Introspection queries that would be expensive.
fn introspections() -> Cases {
    vec![
        (
            "introspection twice",
            "{ a: __schema { types { name } } b: __schema { types { name } } }".to_owned(),
            "QUERY_TOO_LARGE",
        ),
        (
            "introspection twice by a fragment",
            "{ ...F b: __schema { types { name } } } fragment F on Query { __schema { types { name } } }"
                .to_owned(),
            "QUERY_TOO_LARGE",
        ),
        (
            "introspection of fields, each many times",
            format!("{{ __schema {{ types {{ fields {{ {} }} }} }} }}", "name ".repeat(180)),
            "QUERY_TOO_LARGE",
        ),
    ]
}

/// Queries that would be expensive, and the error code for each query.
fn hostile() -> Cases {
    let pages = |size: &str| {
        format!(
            "{{ subAccounts(first: {size}) {{ nodes {{ apiKeys(last: {size}) {{ nodes {{ id }} }} }} }} }}"
        )
    };
    let aliases: String = (0..31).map(|at| format!("a{at}: team {{ name }} ")).collect();
    let operations: String =
        (0..90).map(|at| format!("query Q{at} {{ account {{ ...F ...F }} }} ")).collect();
    let spreads = "...G ".repeat(60);
    vec![
        ("doubling fragments", doubling(60, "{ account { ...F0 } }"), "QUERY_TOO_LARGE"),
        ("fragments that double unused", doubling(60, "{ account { id } }"), "QUERY_TOO_LARGE"),
        (
            "doubling in fragments without a name",
            format!("{{ account {{ {} }} }}", nested("... on Account { name ", "id", " }", 400)),
            "QUERY_TOO_LARGE",
        ),
        (
            "a fragment within itself",
            "{ account { ...F } } fragment F on Account { ...F }".to_owned(),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "fragments within each other",
            "{ account { ...F } } fragment F on Account { ...G } fragment G on Account { ...F }"
                .to_owned(),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "many operations that spread the same",
            format!(
                "{operations} fragment F on Account {{ {spreads} }} fragment G on Account {{ id name }}"
            ),
            "QUERY_TOO_LARGE",
        ),
        ("aliases", format!("{{ {aliases} }}"), "QUERY_TOO_LARGE"),
        (
            "depth",
            nested("{ account { usage { buckets ", "{ key }", "} } }", 4)
                .replace("key", "account { id }"),
            "QUERY_TOO_LARGE",
        ),
        (
            "introspection of itself",
            format!(
                "{{ __schema {} }}",
                nested("{ types { fields { type ", "{ name }", "} } }", 6)
            ),
            "QUERY_TOO_LARGE",
        ),
        ("pages in pages", pages("100"), "QUERY_TOO_LARGE"),
        (
            "a page beyond all numbers",
            pages("99999999999999999999999"),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("tokens", format!("{{ account {{ {} }} }}", "id ".repeat(2_000)), "QUERY_TOO_LARGE"),
        (
            "directives",
            format!("{{ account {{ id {} }} }}", "@skip(if: false) ".repeat(300)),
            "QUERY_TOO_LARGE",
        ),
        (
            "tokens between byte order marks",
            format!("{{ account {{ {} }} }}", "id\u{feff}".repeat(2_000)),
            "QUERY_TOO_LARGE",
        ),
        (
            "numbers without a gap",
            format!("{{ account {{ usage(groupBy: [{}]) {{ from }} }} }}", "1-".repeat(2_000)),
            "QUERY_TOO_LARGE",
        ),
        ("braces", "{".repeat(15_000), "QUERY_TOO_LARGE"),
        ("length", format!("{{ account {{ id }} }}#{}", "x".repeat(15_000)), "QUERY_TOO_LARGE"),
        (
            "lists in lists",
            format!(
                "{{ account {{ usage(groupBy: {}) {{ from }} }} }}",
                nested("[", "DAY", "]", 480)
            ),
            "QUERY_TOO_LARGE",
        ),
        (
            "objects in objects",
            format!(
                "{{ subAccounts(filter: {}) {{ totalCount }} }}",
                nested("{ metadata: ", "1", " }", 240)
            ),
            "QUERY_TOO_LARGE",
        ),
        (
            "a quote without an end",
            format!("{{ account(a: \"{}", "x".repeat(9_000)),
            "GRAPHQL_PARSE_FAILED",
        ),
    ]
}

/// Documents with thousands of brackets after quotation marks. A lexer could misread the quotation marks as one long
/// string or as an empty string.
fn brackets_behind_quotes() -> Cases {
    let brackets = "[".repeat(14_900);
    let objects = "{a:".repeat(4_900);
    let heads = ["{a(b:[", "query($a:Int=[", "{a @skip(if:[", "query @a(b:["];
    let quotes = ["\"\"\"\"", "\"\"\"\"\"", "\"\"\"\\\"\"\"", "\"\n", "\"\\\"", "\"\"\"#\""];
    let mut cases = Cases::new();
    for head in heads {
        for quotes in quotes {
            for brackets in [&brackets, &objects] {
                let query = format!("{head}{quotes}{brackets}");
                cases.push(("brackets behind quotes", query, "GRAPHQL_PARSE_FAILED"));
            }
        }
    }
    cases
}

#[db_test]
async fn hostile_documents_are_refused_over_every_transport(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let mut socket = Socket::with_key(server.address, &team.key).await;
    assert!(t.sends(&team.key).await, "the key is known from here on");
    let before = t.everything().await;

    for (name, query, code) in [hostile(), introspections(), brackets_behind_quotes()].concat() {
        let by_post = t.ask(&team.key, &query).await;
        assert_eq!((by_post.status.as_u16(), by_post.codes()[0]), (400, code), "{name}");
        let message = by_post.body["errors"][0]["message"].as_str().expect("a message");
        assert!(message.len() < 200 && !message.contains('\n'), "{name}: {message}");

        let by_get = t.request(get(&team.key, &format!("query={}", encoded(&query)))).await;
        assert_eq!((by_get.status.as_u16(), by_get.codes()[0]), (400, code), "{name}");

        let hash = sha256_hex(&query);
        let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
        let body = json!({ "query": query, "extensions": persisted }).to_string();
        let to_keep = t.request(post(&team.key, body)).await;
        assert_eq!((to_keep.status.as_u16(), to_keep.codes()[0]), (400, code), "{name}");
        let by_hash =
            t.request(post(&team.key, json!({ "extensions": persisted }).to_string())).await;
        assert_eq!(by_hash.codes(), ["PERSISTED_QUERY_NOT_FOUND"], "{name} is not kept");

        socket.subscribe(name, &query).await;
        let Received::Message(came) = socket.next().await else { panic!("{name}: closed") };
        assert_eq!((&came["id"], &came["type"]), (&json!(name), &json!("error")), "{name}");
        assert_eq!(came["payload"][0]["extensions"]["code"], code, "{name}");
    }
    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn a_persisted_query_is_limited_by_its_variables_too(t: &TestApp) {
    let team = t.team(0).await;
    let query = "query($n: Int!) { subAccounts(first: $n) { nodes { \
                 apiKeys(first: $n) { nodes { id } } } } }";
    let hash = sha256_hex(query);
    let ask = async |query: Option<&str>, n: Value| {
        let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
        let mut body = json!({ "extensions": persisted, "variables": { "n": n } });
        if let Some(query) = query {
            body["query"] = query.into();
        }
        t.request(post(&team.key, body.to_string())).await
    };

    assert_eq!(ask(Some(query), json!(10)).await.codes(), [""; 0]);
    assert_eq!(ask(None, json!(10)).await.codes(), [""; 0]);
    assert_eq!(ask(None, json!(100)).await.codes(), ["QUERY_TOO_LARGE"]);
    assert_eq!(ask(None, json!(u64::MAX)).await.codes(), ["QUERY_TOO_LARGE"]);
}

#[db_test]
async fn variables_that_are_too_deep_or_too_many_are_refused(t: &TestApp) {
    let team = t.team(1_000).await;
    let before = t.everything().await;
    let send =
        "mutation($input: SendMessageInput!) { sendMessage(input: $input) { errors { code } } }";
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let body =
        |input: &str| format!("{{\"query\":{},\"variables\":{{\"input\":{input}}}}}", json!(send));

    let answer = t.request(post(&team.key, body(&deep))).await;
    assert_eq!((answer.status.as_u16(), answer.codes()), (400, vec!["BAD_USER_INPUT"]));
    let fields: Vec<String> = (0..9_000).map(|at| format!("\"field{at}\":{at}")).collect();
    let answer = t.request(post(&team.key, body(&format!("{{{}}}", fields.join(","))))).await;
    assert_eq!(answer.codes(), ["GRAPHQL_VALIDATION_FAILED"]);
    let metadata = format!(
        "{{\"to\":\"+12025550123\",\"text\":\"Hi\",\"metadata\":{}1{}}}",
        "{\"a\":".repeat(40),
        "}".repeat(40)
    );
    let answer = t.request(post(&team.key, body(&metadata))).await;
    assert_eq!(answer.refusals(), ["METADATA_INVALID"]);
    assert_eq!(t.everything().await, before);
}

/// If each variable were counted only once, a request with 100 KiB of variables could use each variable a hundred
/// times, and so multiply the size.
#[db_test]
async fn a_variable_counts_at_each_use(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let before = t.everything().await;
    let message = json!({ "to": "a@example.com", "subject": "Hi", "text": "x".repeat(100_000) });
    let list = vec!["$m"; 50].join(", ");
    for query in [
        format!("mutation($m: SendMessageInput!) {{ sendMessages(input: [{list}]) {{ errors {{ code }} }} }}"),
        "mutation($m: SendMessageInput!) { ...F a: sendMessages(input: [$m, $m, $m, $m, $m, $m, $m, $m, $m, $m]) \
         { errors { code } } } fragment F on Mutation { b: sendMessages(input: [$m, $m, $m, $m, $m, $m, $m, $m, \
         $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m, $m]) \
         { errors { code } } }"
            .to_owned(),
    ] {
        let refused = t.ask_with(&team.key, &query, json!({ "m": message })).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (400, vec!["QUERY_TOO_LARGE"]));
    }
    // Unused variables are neither counted nor kept.
    let unused = json!({ "unused": "x".repeat(200_000) });
    assert_eq!(t.ask_with(&team.key, "{ viewer { role } }", unused).await.status, 200);

    // The variables of a subscription are kept in memory, so a lower limit applies to them.
    let mut socket = Socket::with_key(server.address, &team.key).await;
    for (id, length) in [("much", 8_200), ("little", 36)] {
        let query = "subscription($id: ID) { messageUpdated(id: $id) { id } }";
        let payload = json!({ "query": query, "variables": { "id": "x".repeat(length) } });
        socket.send(json!({ "id": id, "type": "subscribe", "payload": payload })).await;
    }
    let Received::Message(came) = socket.next().await else { panic!("closed") };
    assert_eq!((&came["id"], &came["type"]), (&json!("much"), &json!("error")));
    assert_eq!(came["payload"][0]["extensions"]["code"], "QUERY_TOO_LARGE");
    assert_eq!(t.everything().await, before);
}

/// Variables in directives and in unused fragments are counted, because validation copies them too.
#[db_test]
async fn a_variable_counts_in_directives_and_unused_fragments(t: &TestApp) {
    let team = t.team(1_000).await;
    let before = t.everything().await;
    let list = |times: usize| vec!["$x"; times].join(",");
    let much = json!({ "x": vec![0; 19_000] });
    let many = list(480);
    for query in [
        format!("query($x:Int){{account@include(if:[{many}]){{name}}}}"),
        format!("query($x:Int){{account{{...@include(if:[{many}]){{name}}}}}}"),
        format!(
            "query($x:Int){{account{{...F@skip(if:{{a:[{many}]}})}}}} fragment F on Account{{name}}"
        ),
        format!("query($x:Int)@skip(if:[{many}]){{account{{name}}}}"),
        format!(
            "query($x:Int){{account{{...F}}}} fragment F on Account@include(if:[{many}]){{name}}"
        ),
        format!(
            "query($x:Int){{account{{name}}}} fragment F on Query{{messages(after:[{many}]){{totalCount}}}}"
        ),
        format!(
            "query($x:Int){{account{{name}}}} fragment F on Account{{name@include(if:[{many}])}}"
        ),
        format!(
            "query A{{account{{name}}}} query B($x:Int){{messages(after:[{}]){{totalCount}}}}",
            list(480)
        ),
    ] {
        let body = json!({ "query": query, "variables": much, "operationName": query.contains("query A").then_some("B") });
        let refused = t.request(post(&team.key, body.to_string())).await;
        assert_eq!(
            (refused.status.as_u16(), refused.codes()),
            (400, vec!["QUERY_TOO_LARGE"]),
            "{query}"
        );
    }
    // A list with a single Boolean is small enough, but `if` does not accept a list.
    let refused = t
        .ask_with(
            &team.key,
            "query($x:Boolean!){account@include(if:[$x]){name}}",
            json!({ "x": true }),
        )
        .await;
    assert_eq!(refused.codes()[0], "GRAPHQL_VALIDATION_FAILED");
    let query = "query($x:Boolean!){account@include(if:$x){isSubAccount}}";
    let answer = t.ask_with(&team.key, query, json!({ "x": true })).await;
    assert_eq!(*answer.data(), json!({ "account": { "isSubAccount": false } }));
    assert_eq!(t.everything().await, before);
}

/// If several declarations were allowed, validation would check the variable's value again for each of them.
#[db_test]
async fn a_variable_that_is_declared_twice_is_refused(t: &TestApp) {
    let team = t.team(1_000).await;
    let before = t.everything().await;
    let values = json!({ "x": vec!["SMS"; 19_000] });

    let twice = vec!["$x:Channel"; 240].join(",");
    let refused =
        t.ask_with(&team.key, &format!("query({twice}){{account{{name}}}}"), values.clone()).await;
    assert_eq!(refused.codes()[0], "GRAPHQL_VALIDATION_FAILED");
    let message = "Multiple variable definitions named $x.";
    let errors = refused.body["errors"].as_array().expect("errors");
    assert!(errors.iter().any(|error| error["message"] == message), "{}", refused.body);

    // Several operations may declare the same variable, so the uses in all operations are counted.
    let operations: String = (0..60)
        .map(|at| {
            format!("query Q{at}($x:[Channel!]){{messages(filter:{{channel:$x}}){{totalCount}}}}")
        })
        .collect();
    let body = json!({ "query": operations, "variables": values, "operationName": "Q0" });
    let refused = t.request(post(&team.key, body.to_string())).await;
    assert_eq!(refused.codes(), ["QUERY_TOO_LARGE"]);
    assert_eq!(t.everything().await, before);
}

/// The limit applies to the text that is read and the text in the response in total.
#[db_test]
async fn a_request_holds_at_most_32_mib_of_text(t: &TestApp, database: Database) {
    let team = t.team(1_000).await;
    let many = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) { errors { code } } }";
    let message = json!({ "to": "+12025550123", "text": "Hi", "metadata": { "a": 1 } });
    let sent = t.ask_with(&team.key, many, json!({ "input": vec![message; 40] })).await;
    assert_eq!(sent.codes(), [""; 0]);
    let text = match database {
        Sqlite => "replace(hex(zeroblob(500000)), '00', 'xx')",
        Postgres => "repeat('x', 1000000)",
    };
    t.execute(&format!("UPDATE message SET text = {text}")).await;
    let before = t.everything().await;

    let aliases: String = (0..17).map(|at| format!("a{at}: text ")).collect();
    let pages: String =
        (0..30).map(|at| format!("a{at}: messages {{ nodes {{ id }} }} ")).collect();
    for (fits, too_much) in [
        // Each message has a million bytes, which are counted when they are read and again when they are returned.
        // Sixteen messages fit.
        (
            "{ messages(first: 15) { nodes { text } } }",
            "{ messages(first: 17) { nodes { text } } }",
        ),
        // These queries read the text without returning the text, so each message is counted only once.
        ("{ messages(first: 32) { nodes { id } } }", "{ messages(first: 34) { nodes { id } } }"),
        ("{ messages { nodes { id } } }", &format!("{{ {pages} }}")),
        (
            "{ messages(first: 1) { nodes { a: text b: text } } }",
            &format!(
                "{{ messages(first: 1) {{ nodes {{ {aliases} }} }} b: messages(first: 14) {{ nodes {{ id }} }} }}"
            ),
        ),
    ] {
        let answer = t.ask(&team.key, fits).await;
        assert_eq!(answer.codes(), [""; 0], "{fits}");
        let refused = t.ask(&team.key, too_much).await;
        let codes = refused.codes();
        assert!(
            !codes.is_empty() && codes.iter().all(|code| *code == "QUERY_TOO_LARGE"),
            "{too_much}"
        );
    }
    assert_eq!(t.everything().await, before);
    t.execute("UPDATE message SET text = 'Hi'").await;
}
