//! The limits on the body, the document and the estimated size of the response. Each test sends a request at the limit
//! and a request above the limit.

use db_test::db_test;
use serde_json::json;

use crate::harness::{TestApp, doubling, post};

const QUERY: &str = "{ account { name } }";

#[db_test]
async fn a_body_has_at_most_256_kib(t: &TestApp) {
    let team = t.team(0).await;
    let body = |bytes: usize| {
        let frame = json!({ "query": QUERY, "extensions": { "x": "" } }).to_string();
        let filler = "x".repeat(bytes - frame.len());
        json!({ "query": QUERY, "extensions": { "x": filler } }).to_string()
    };

    let fits = t.request(post(&team.key, body(256 * 1024))).await;
    let too_large = t.request(post(&team.key, body(256 * 1024 + 1))).await;

    assert_eq!(fits.status, 200);
    assert_eq!((too_large.status.as_u16(), too_large.codes()), (413, vec!["PAYLOAD_TOO_LARGE"]));
}

/// The limit is checked before validation, because validation would visit a fragment again for each spread. If each
/// fragment spreads another fragment twice, the number of visits doubles at each level.
#[db_test]
async fn a_costly_document_is_refused_before_validation(t: &TestApp) {
    let team = t.team(1000).await;
    let before = t.everything().await;
    let doubling = |levels| doubling(levels, "{ account { ...F0 } }");
    let nested = |leaf: &str| {
        // The query is `account`, then three times `usage { buckets { account … } }`, then the leaf.
        let mut query = leaf.to_owned();
        for _ in 0..3 {
            query = format!("usage {{ buckets {{ account {{ {query} }} }} }}");
        }
        format!("{{ account {{ {query} }} }}")
    };
    let types = |levels: usize| {
        // The query is `__schema`, `types`, `fields` and `type`, then `ofType` several times, then a leaf.
        let inner = "ofType { ".repeat(levels - 5);
        let end = " }".repeat(levels - 5);
        format!("{{ __schema {{ types {{ fields {{ type {{ {inner}name{end} }} }} }} }} }}")
    };
    let wide = |more: usize| {
        // The document counts as 9,991 fields plus `more`, and the limit is 10,000: 1 for `account` and 4,500 for the
        // spread of A, then 4,500, 900 and 90 for the definitions of A, G and F.
        let (five, ten) = ("...G ".repeat(5), "...F ".repeat(10));
        let (fields, more) = ("id ".repeat(90), "id ".repeat(more));
        format!(
            "{{ account {{ ...A {more}}} }} fragment A on Account {{ {five}}} \
             fragment F on Account {{ {fields}}} fragment G on Account {{ {ten}}}"
        )
    };
    let aliases = |count: usize| {
        let fields: String = (0..count).map(|at| format!("a{at}: account {{ name }} ")).collect();
        format!("{{ {fields} }}")
    };
    let within = |brackets: usize| {
        // Three brackets belong to the root selection, the arguments and the input; the metadata supplies the rest.
        let metadata = format!("{}1{}", "{ a: ".repeat(brackets - 3), " }".repeat(brackets - 3));
        let input = format!("{{ to: \"\", text: \"\", metadata: {metadata} }}");
        format!("{{ messageQuote(input: {input}) {{ segments }} }}")
    };
    let mutations = |count: usize| {
        let fields: String = (0..count)
            .map(|at| {
                format!("a{at}: sendMessage(input: {{ to: \"junk\", text: \"\" }}) {{ replayed }} ")
            })
            .collect();
        format!("mutation {{ {fields} }}")
    };

    for (fits, too_large) in [
        (doubling(10), doubling(14)),
        (doubling(3), doubling(60)),
        (
            doubling(10),
            format!(
                "{{ account {{ name }} }} {}",
                doubling(22).split_once("} }").map_or("", |(_, rest)| rest)
            ),
        ),
        // The query has 1 + 3 * 3 levels of nesting, plus the levels of the leaf.
        (nested("usage { from }"), nested("usage { totals { spent } }")),
        (types(15), types(16)),
        (wide(9), wide(10)),
        (aliases(30), aliases(31)),
        (within(125), within(126)),
        (mutations(10), mutations(11)),
        (
            format!("{{ account {{ name }} }}{}", " ".repeat(15_000 - 20)),
            format!("{{ account {{ name }} }}{}", " ".repeat(15_001 - 20)),
        ),
    ] {
        assert_eq!(t.ask(&team.key, &fits).await.codes(), [""; 0], "{fits}");
        let refused = t.ask(&team.key, &too_large).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (400, vec!["QUERY_TOO_LARGE"]));
    }
    assert_eq!(t.everything().await, before);
}

/// The complexity depends on the page size, even if a variable contains the page size.
#[db_test]
async fn the_complexity_of_a_query_is_limited(t: &TestApp) {
    let team = t.team(0).await;
    // The complexity of a list is 1, plus 1 and the complexity of the fields for each entry.
    let query = |fields: &str| {
        format!(
            "query($n: Int = 100) {{ subAccounts(first: $n) {{ nodes {{ id \
             apiKeys {{ nodes {{ {fields} }} }} }} }} }}"
        )
    };
    // The complexity of a page of accounts, each with a page of 20 keys.
    let complexity = |accounts: i64, fields: i64| 1 + accounts * (1 + 1 + 1 + 20 * (1 + fields));
    assert_eq!((complexity(79, 2), complexity(80, 2)), (4_978, 5_041));

    for (size, codes) in [(79, &[][..]), (80, &["QUERY_TOO_LARGE"][..])] {
        let answer = t.ask_with(&team.key, &query("id name"), json!({ "n": size })).await;
        assert_eq!(answer.codes(), codes, "{size}");
        let literal =
            query("id name").replace("$n: Int = 100", "$m: Int").replace("$n", &size.to_string());
        let answer = t.ask(&team.key, &literal.replace("($m: Int)", "")).await;
        assert_eq!(answer.codes(), codes, "{size}");
    }
    let by_default = t.ask(&team.key, &query("id name")).await;
    assert_eq!(by_default.codes(), ["QUERY_TOO_LARGE"], "the default of a variable counts");
    let in_fragments = format!(
        "{} fragment A on Account {{ apiKeys(last: 100) {{ nodes {{ id }} }} }}",
        "{ subAccounts(first: 100) { nodes { ...A } } }"
    );
    assert_eq!(t.ask(&team.key, &in_fragments).await.codes(), ["QUERY_TOO_LARGE"]);

    let send = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) { \
                message { id cost status segments to text channel environment createdAt updatedAt } \
                errors { code message field } replayed } }";
    let junk = vec![json!({ "to": "junk", "text": "" }); 100];
    let answer = t.ask_with(&team.key, send, json!({ "input": junk })).await;
    assert_eq!(answer.codes(), [""; 0], "a hundred messages with all of their fields");
}

#[db_test]
async fn a_query_has_at_most_1000_tokens(t: &TestApp) {
    let team = t.team(0).await;
    let query = |fields: usize| format!("{{ account {{ {}}} }}", "id ".repeat(fields));
    assert_eq!(t.ask(&team.key, &query(995)).await.codes(), [""; 0]);
    assert_eq!(t.ask(&team.key, &query(996)).await.codes(), ["QUERY_TOO_LARGE"]);
    // Thousands of brackets are refused too.
    let answer = t.ask(&team.key, &"{".repeat(15_000)).await;
    assert_eq!((answer.status.as_u16(), answer.codes()), (400, vec!["QUERY_TOO_LARGE"]));
}
