//! Searching for available phone numbers.

use db_test::db_test;
use serde_json::json;

use super::{STOCK, available};
use crate::harness::TestApp;

/// The available numbers are sorted by number.
#[db_test]
async fn available_numbers_are_filtered_by_country_type_digits_and_capabilities(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(0).await;
    let [one, two, three] = ["+12025550101", "+12025550102", "+12025550103"];

    for (filter, expected) in [
        (json!({ "country": "US" }), vec![one, two, three]),
        (json!({ "country": "us", "type": "LOCAL" }), vec![one, three]),
        (json!({ "country": "US", "type": "NATIONAL" }), vec![]),
        (json!({ "country": "US", "contains": "0102" }), vec![two]),
        (json!({ "country": "US", "contains": "1202555010" }), vec![one, two, three]),
        (json!({ "country": "US", "contains": "120255501030000" }), vec![]),
        (json!({ "country": "US", "capabilities": ["SMS"] }), vec![one, two]),
        (json!({ "country": "US", "capabilities": ["SMS", "WHATSAPP"] }), vec![two]),
        (json!({ "country": "US", "capabilities": [] }), vec![one, two, three]),
        (json!({ "country": "DE" }), vec!["+4915112345678"]),
        (json!({ "country": "FR" }), vec![]),
    ] {
        assert_eq!(available(t, &team.key, filter.clone()).await, expected, "{filter}");
    }
    let query = "query($filter: AvailablePhoneNumberFilter!, $first: Int) \
                 { availablePhoneNumbers(filter: $filter, first: $first) { number } }";
    for filter in [
        json!({ "country": "USA" }),
        json!({ "country": "U1" }),
        json!({ "country": "" }),
        json!({ "country": "US", "contains": "" }),
        json!({ "country": "US", "contains": "%" }),
        json!({ "country": "US", "contains": "+1" }),
        json!({ "country": "US", "contains": "1234567890123456" }),
        json!({ "country": "US", "capabilities": ["EMAIL"] }),
    ] {
        let answer = t.ask_with(&team.key, query, json!({ "filter": filter })).await;
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"], "{filter}");
    }
    let us = json!({ "country": "US" });
    for (first, codes) in [(101, &["BAD_USER_INPUT"][..]), (-1, &["BAD_USER_INPUT"]), (100, &[])] {
        let answer = t.ask_with(&team.key, query, json!({ "filter": us, "first": first })).await;
        assert_eq!(answer.codes(), codes, "{first}");
    }
    let two = t.ask_with(&team.key, query, json!({ "filter": us, "first": 2 })).await;
    assert_eq!(two.data()["availablePhoneNumbers"].as_array().map(Vec::len), Some(2));

    // The cost of the list depends on its length in the same way as the cost of a page.
    let fields = "number country type capabilities upfrontPrice monthlyPrice";
    for (lists, codes) in [(8, &[][..]), (9, &["QUERY_TOO_LARGE"])] {
        let list = |at| {
            format!(
                "a{at}: availablePhoneNumbers(filter: {{ country: \"US\" }}, first: 100) {{ {fields} }} "
            )
        };
        let query: String = (0..lists).map(list).collect();
        assert_eq!(t.ask(&team.key, &format!("{{ {query} }}")).await.codes(), codes);
    }
}
