//! Limits on requests and on the load that they cause.

use tollgate::{
    db::{ACQUIRE_TIMEOUT, OUTAGE_CHARGE_MAX, REQUEST_CONNECTIONS_MAX, WORKER_CONNECTIONS},
    domain::{
        message::MESSAGES_PER_CALL_MAX,
        opt_out::IMPORTED_MAX,
        page::{PAGE_DEFAULT, PAGE_MAX},
    },
    graphql::reference as graphql,
    http::{ACCOUNT_RATE_DEFAULT, KEY_RATE_DEFAULT, reference as http},
    json,
};

use super::{connections_of, fraction, levels, with_team};
use crate::reference::page::{Page, bytes, count, time};

pub fn requests(page: &mut Page) {
    page.heading("Requests");
    page.text(
        "These limits are checked before a request is executed. A request that exceeds one of them fails with the \
         given code, and nothing is changed.",
    );
    let times = count(graphql::LIST_LENGTH);
    let estimated = format!(
        "Estimated fields of the response. The fields in a page count once for each requested row, those in another \
         list {times} times"
    );
    page.table(
        ["Limit", "Maximum", "Code"],
        &[
            ["Body", &bytes(http::BODY_BYTES_MAX), "PAYLOAD_TOO_LARGE"],
            ["Nesting of the JSON", &levels(json::DEPTH_MAX), "BAD_USER_INPUT"],
            ["Values in the JSON", &count(json::VALUES_MAX), "BAD_USER_INPUT"],
            ["Characters of a query", &count(graphql::QUERY_CHARS_MAX), "QUERY_TOO_LARGE"],
            ["Tokens of a query", &count(graphql::TOKENS_MAX), "QUERY_TOO_LARGE"],
            [
                "Nesting of a query for the parser. A field with a selection counts as two levels, an argument, a \
                 list or an input object as one",
                &levels(graphql::NESTING_MAX),
                "QUERY_TOO_LARGE",
            ],
            ["Depth of fields", &levels(graphql::DEPTH_MAX), "QUERY_TOO_LARGE"],
            ["Aliases of a document", &count(graphql::ALIASES_MAX), "QUERY_TOO_LARGE"],
            [
                "Fields, with each fragment counted wherever it is used",
                &count(graphql::EXPANDED_SIZE_MAX),
                "QUERY_TOO_LARGE",
            ],
            [
                "Root fields of a mutation",
                &count(graphql::ROOT_MUTATION_FIELDS_MAX),
                "QUERY_TOO_LARGE",
            ],
            [&estimated, &count(graphql::COMPLEXITY_MAX), "QUERY_TOO_LARGE"],
            [
                "Total size of the variables, with each one counted once for every use",
                &bytes(graphql::INPUT_BYTES_MAX),
                "QUERY_TOO_LARGE",
            ],
        ],
    );
    parts_of_requests(page);
}

pub fn parts_of_requests(page: &mut Page) {
    page.text("A field whose arguments exceed one of these limits fails with BAD_USER_INPUT:");
    let rows =
        format!("Rows of a page ({PAGE_DEFAULT} by default), numbers of `availablePhoneNumbers`");
    page.table(
        ["Limit", "Maximum"],
        &[
            [&rows, &count(PAGE_MAX)],
            ["Messages of a `sendMessages`", &count(MESSAGES_PER_CALL_MAX)],
            ["Addresses of an `importOptOuts`", &count(IMPORTED_MAX)],
        ],
    );
    page.text(
        "Introspection and subscriptions have limits of their own, with the code QUERY_TOO_LARGE:",
    );
    page.table(
        ["Limit", "Maximum"],
        &[
            ["Depth of an introspection", &levels(graphql::INTROSPECTION_DEPTH_MAX)],
            ["`__schema` fields of an introspection", "1"],
            [
                "Fields and fragments of an introspection, each counted as often as it is executed",
                &count(graphql::INTROSPECTION_MAX),
            ],
            [
                "Text of the document of a subscription",
                &bytes(graphql::SUBSCRIPTION_QUERY_BYTES_MAX),
            ],
            ["Tokens of the document of a subscription", &count(graphql::SUBSCRIPTION_TOKENS_MAX)],
            ["Fields of a subscription", &count(graphql::SUBSCRIPTION_FIELDS_MAX)],
            ["Variables of a subscription", &bytes(graphql::SUBSCRIPTION_INPUT_BYTES_MAX)],
        ],
    );
    page.text(&format!(
        "A request takes at most {}. Beyond that it fails with UNAVAILABLE, and its outcome is not known: repeat it with \
         the same idempotency key. Other parts of a request have these limits:",
        time(http::REQUEST_DEADLINE)
    ));
    page.table(
        ["Limit", "Maximum", "Beyond it"],
        &[
            [
                "Persisted queries of all accounts",
                &bytes(graphql::PERSISTED_QUERY_BYTES_MAX),
                "the team with the most bytes loses those that were not used for the longest time",
            ],
            [
                "`X-Request-Id`",
                &format!("{} letters, digits and `-`", count(http::REQUEST_ID_CHARS_MAX)),
                "replaced by an id of the server",
            ],
            ["Media ranges of `Accept`", &count(http::RANGES_MAX), "the others are ignored"],
        ],
    );
}

pub fn rate_limits(page: &mut Page) {
    page.heading("Rate limits");
    page.text(&format!(
        "A request costs its estimated fields, and one more for each {} beyond its first {}. It costs at least one, \
         even if it is refused. The headers `RateLimit-Policy` and `RateLimit` show the limits and what is left of \
         them. A request beyond a limit fails with RATE_LIMITED, and nothing is changed.",
        bytes(http::BYTES_OF_FIELD),
        bytes(http::BYTES_COVERED)
    ));
    let fields_of = |rate| format!("{} fields per second, unless it is set", count(rate));
    let failures = format!(
        "{}, then {} per second",
        count(http::FAILURES_MAX),
        count(http::FAILURES_PER_SECOND)
    );
    page.table(
        ["Limit", "Maximum"],
        &[
            ["Requests of a key (`--key-rate-limit`)", &fields_of(KEY_RATE_DEFAULT)],
            ["Requests of an account (`--account-rate-limit`)", &fields_of(ACCOUNT_RATE_DEFAULT)],
            ["Wrong keys from one address; valid keys are not affected", &failures],
        ],
    );
    page.text(&format!(
        "**Database time.** A key can use {} for reading without interruption, and an account {}. The first {} of each \
         statement are free, and up to {} of unused time are saved. A statement counts for as long as it takes; time \
         in which PostgreSQL responds to nobody counts for at most {}. When the saved time is used up, requests fail \
         with RATE_LIMITED until it is regained, for at most {}.",
        connections_of(http::KEY_READS),
        connections_of(http::ACCOUNT_READS),
        time(http::READING_FREE),
        time(http::READING_SAVED_MAX),
        time(OUTAGE_CHARGE_MAX),
        time(http::WAIT_MAX)
    ));
    page.text(&format!(
        "**Processor time.** A key can use {} of the server's processors without interruption, and an account {}. \
         Parsing a request and executing it are free for up to {} each, and up to {} of unused time are saved. The \
         rest is as for database time. The rate 0 for keys or for accounts turns off all three limits for them.",
        fraction(http::KEY_PROCESSORS),
        fraction(http::ACCOUNT_PROCESSORS),
        time(http::PROCESSING_FREE),
        time(http::PROCESSING_SAVED_MAX)
    ));
}

pub fn load(page: &mut Page) {
    page.heading("Concurrent requests");
    page.text(
        "A request counts once its key is known and its body has arrived. If there are too many, nothing is changed, \
         and the response says when to try again.",
    );
    page.table(
        ["Limit", "Maximum", "Beyond it"],
        &[
            [
                "Requests that are executed",
                &with_team(&count(http::PERMITS_MAX), &count(http::PERMITS_OF_TEAM_MAX)),
                "wait",
            ],
            [
                "Requests that are executed or wait",
                &with_team(&count(http::HELD_MAX), &count(http::HELD_OF_TEAM_MAX)),
                "UNAVAILABLE",
            ],
            ["Time that a request waits", &time(http::PERMIT_TIMEOUT), "UNAVAILABLE"],
            [
                &format!(
                    "Estimated fields of a team's requests that are executed. Requests with at most {} fields, and \
                     sends that are being accepted, do not count",
                    count(graphql::FEW_FIELDS)
                ),
                &count(graphql::FIELDS_OF_TEAM_MAX),
                "wait",
            ],
            [
                &format!(
                    "Introspections of a team with more than {} fields and fragments. They are executed one after \
                     another",
                    count(graphql::INTROSPECTION_SHORT)
                ),
                &count(graphql::INTROSPECTIONS_OF_TEAM_MAX),
                "UNAVAILABLE",
            ],
            [
                "Database connections for reading. A team has at most half of those of the process, and all operators \
                 together half",
                &format!("{} for one request", count(REQUEST_CONNECTIONS_MAX)),
                "wait",
            ],
            ["Time that a statement waits for a connection", &time(ACQUIRE_TIMEOUT), "UNAVAILABLE"],
        ],
    );
    page.text(&format!(
        "Mutations other than sends take turns. On PostgreSQL, they leave {} of the connections for writing to the \
         delivery of messages, and a team has at most half of the others. On SQLite, which has one connection for \
         writing, one mutation of each team waits for it at a time. Beyond {} refusals per second and processor, a \
         refusal is delayed by up to {}, so that clients that retry immediately do not slow down the others.",
        count(WORKER_CONNECTIONS),
        count(http::REFUSALS_PER_SECOND),
        time(http::REFUSAL_DELAY_MAX)
    ));
}
