//! Generates the reference page about limits. Every number comes from the constant that the server enforces.

use tollgate::{
    db::{ACQUIRE_TIMEOUT, OUTAGE_CHARGE_MAX, REQUEST_CONNECTIONS_MAX, WORKER_CONNECTIONS},
    domain::{
        api_key::{GRACE_SECONDS_MAX, KEYS_PER_ACCOUNT_MAX},
        billing::{
            price_import,
            test_storage::{TEST_BYTES_MAX, TEST_MESSAGES_MAX},
            usage::{BUCKET_BYTES, BUCKETS_MAX, RANGE_DAYS_MAX},
        },
        channel::{
            content::{CHAT_CHARS_MAX, EMAIL_BYTES_MAX, SMS_CHARS_MAX, SUBJECT_CHARS_MAX},
            schedule::SEND_AHEAD_MAX,
        },
        contact::{
            address::ADDRESSES_PER_CONTACT_MAX,
            csv::{CELL_LINES_MAX, ROWS_MAX as CONTACT_ROWS_MAX},
            tag::TAGS_PER_CONTACT_MAX,
        },
        csv_file,
        list::{LONG_LOOKED_AT_MAX, LOOKED_AT_MAX, TOTAL_MAX},
        message::{MESSAGES_PER_CALL_MAX, test_retention::TEST_KEPT_FOR},
        opt_out::IMPORTED_MAX,
        page::{PAGE_DEFAULT, PAGE_MAX},
        phone_number::{NUMBERS_MAX, inventory_import},
        sender::SENDERS_PER_ACCOUNT_MAX,
        team::sub_account::SUB_ACCOUNTS_MAX,
        template::{
            DEFAULT_CHARS_MAX, SOURCES_BYTES_MAX, TEMPLATES_PER_ACCOUNT_MAX,
            VARIABLE_NAME_CHARS_MAX, VARIABLES_MAX,
            compile::FUEL,
            language::{
                BLOCKS_MAX, BRACKETS_MAX, BRANCHES_MAX, LINE_CHARS_MAX, LOOPS_MAX, TAG_TOKENS_MAX,
                TAGS_MAX,
            },
            time_limit::TIME_MAX,
        },
        validate::{
            EXTERNAL_ID_CHARS_MAX, IDEMPOTENCY_KEY_CHARS_MAX, LABEL_CHARS_MAX, METADATA_BYTES_MAX,
            METADATA_LEVELS_MAX, NAME_CHARS_MAX, NOTE_CHARS_MAX, OBJECT_VALUES_MAX,
        },
        write_rate::{BURST_BYTES, BYTES_PER_SECOND, CALL_BYTES_MAX, TEAM_SHARE},
    },
    graphql::{reference as graphql, scalars::JSON_VALUE_BYTES},
    http::{ACCOUNT_RATE_DEFAULT, KEY_RATE_DEFAULT, reference as http},
    json,
    limits::memory_budget::{
        PART_BYTES, PARTS_MAX, TEXT_BYTES_MAX, VALUE_BYTES, WAITING_BYTES_MAX,
        WAITING_BYTES_OF_TEAM_MAX,
    },
};

use super::page::{Page, bytes, count, time};

pub fn page() -> Page {
    let mut page = Page::new("Limits");
    page.text(
        "The limits protect the users of a server from each other. They are fixed; the rate limits can be \
         [set](settings.md). 1 KiB is 1,024 bytes and 1 MiB is 1,024 KiB. A limit that names no account, team or \
         address applies to the whole `serve` process.",
    );
    requests(&mut page);
    rate_limits(&mut page);
    load(&mut page);
    writing(&mut page);
    stored_data(&mut page);
    responses(&mut page);
    lists(&mut page);
    fields(&mut page);
    templates(&mut page);
    connections(&mut page);
    websockets(&mut page);
    files(&mut page);
    page
}

fn requests(page: &mut Page) {
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

/// Adds the limits on the parts of a request.
fn parts_of_requests(page: &mut Page) {
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

fn rate_limits(page: &mut Page) {
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

fn load(page: &mut Page) {
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

fn writing(page: &mut Page) {
    page.heading("Writing");
    page.text(
        "The content of a message is its text, subject, HTML and metadata, with what its template adds. If a limit is \
         exceeded, nothing is changed.",
    );
    let rate = |accounts: u32| {
        let (rate, burst) = (bytes(BYTES_PER_SECOND * accounts), bytes(BURST_BYTES * accounts));
        format!("{rate} per second, {burst} at once")
    };
    page.table(
        ["Limit", "Maximum", "Code"],
        &[
            ["Content of a `sendMessages`", &bytes(CALL_BYTES_MAX), "BAD_USER_INPUT"],
            [
                "Content of messages and arguments of other mutations, of an account",
                &rate(1),
                "RATE_LIMITED",
            ],
            ["The same for all accounts of a team", &rate(TEAM_SHARE), "RATE_LIMITED"],
        ],
    );
}

fn stored_data(page: &mut Page) {
    page.heading("Stored data");
    page.text("The code is that of the refusal in the payload.");
    let test_bytes = bytes(TEST_BYTES_MAX);
    let test_messages = format!(
        "TEST messages of an account, each of which is kept for {} days",
        count(TEST_KEPT_FOR.num_days())
    );
    page.table(
        ["Limit", "Maximum", "Code"],
        &[
            [
                "Sub-accounts of a team, in any status",
                &count(SUB_ACCOUNTS_MAX),
                "TOO_MANY_SUB_ACCOUNTS",
            ],
            ["Valid keys of an account", &count(KEYS_PER_ACCOUNT_MAX), "TOO_MANY_KEYS"],
            ["Senders of an account", &count(SENDERS_PER_ACCOUNT_MAX), "TOO_MANY_SENDERS"],
            ["Phone numbers of an account", &count(NUMBERS_MAX), "TOO_MANY_NUMBERS"],
            ["Templates of an account", &count(TEMPLATES_PER_ACCOUNT_MAX), "TOO_MANY_TEMPLATES"],
            ["Addresses of a contact", &count(ADDRESSES_PER_CONTACT_MAX), "TOO_MANY_ADDRESSES"],
            ["Tags of a contact", &count(TAGS_PER_CONTACT_MAX), "TAGS_INVALID, TOO_MANY_TAGS"],
            [&test_messages, &count(TEST_MESSAGES_MAX), "TEST_STORAGE_FULL"],
            ["Content of the TEST messages of an account", &test_bytes, "TEST_STORAGE_FULL"],
        ],
    );
}

fn responses(page: &mut Page) {
    page.heading("Responses");
    page.text(&format!(
        "The text that a request reads from the database and the JSON of its response use memory. Each value of the \
         response counts {} more than its text, each value of a JSON object {}, and each bucket of `usage` {} and {} \
         for each of its fields.",
        bytes(VALUE_BYTES),
        bytes(JSON_VALUE_BYTES),
        bytes(BUCKET_BYTES),
        bytes(graphql::USAGE_VALUE_BYTES)
    ));
    let of_all = format!(
        "{}, half of it for one team; the first {} of each request do not count",
        bytes(PARTS_MAX * PART_BYTES),
        bytes(PART_BYTES)
    );
    page.table(
        ["Limit", "Maximum", "Beyond it"],
        &[
            [
                "Memory of a request",
                &bytes(TEXT_BYTES_MAX),
                "QUERY_TOO_LARGE instead of the data of the field, with status 200",
            ],
            [
                "Memory of all requests, until the clients have received the responses",
                &of_all,
                "UNAVAILABLE instead of the data of the field, with status 200",
            ],
            [
                "Buckets of one `usage`, or of those of all accounts of a page",
                &count(BUCKETS_MAX),
                "BAD_USER_INPUT",
            ],
        ],
    );
}

fn lists(page: &mut Page) {
    page.heading("Lists");
    page.text(&format!(
        "- `totalCount` is at most {TOTAL_MAX}; this value means {TOTAL_MAX} or more.\n\
         - Indexes find messages by recipient, by creation time and by status (except QUEUED, SENDING, SENT and \
         DELIVERED), ledger entries by creation time and by kind (except charges), contacts by one tag, and \
         sub-accounts in the order of their names.\n\
         - Every other filter examines at most {} rows for a page. A search of contacts, a filter by several tags and a \
         filter of sub-accounts by metadata examine {}. If there are more rows, the page can be short or empty while \
         `hasNextPage` is true: continue from its `endCursor`. `totalCount` is then null.\n\
         - Sub-accounts in the order of TOTAL_SPENT are all read. So are the numbers of a country for \
         `availablePhoneNumbers`.",
        count(LOOKED_AT_MAX),
        count(LONG_LOOKED_AT_MAX)
    ));
}

fn fields(page: &mut Page) {
    page.heading("Fields");
    page.text("A value that exceeds its limit is refused with the code of its field, such as NAME_INVALID.");
    let chars = |number| format!("{} characters", count(number));
    let object = format!(
        "{} as JSON, {} values, {}",
        bytes(METADATA_BYTES_MAX),
        count(OBJECT_VALUES_MAX),
        levels(METADATA_LEVELS_MAX)
    );
    let grace_days = format!("{} days", count(GRACE_SECONDS_MAX / (24 * 60 * 60)));
    let send_ahead = format!("{} days ahead", count(SEND_AHEAD_MAX.num_days()));
    page.table(
        ["Value", "Maximum"],
        &[
            ["Text of an SMS", &chars(SMS_CHARS_MAX)],
            ["Text of a WHATSAPP or TELEGRAM message", &chars(CHAT_CHARS_MAX)],
            ["Text and HTML of an e-mail", &format!("{} each", bytes(EMAIL_BYTES_MAX))],
            ["Subject of an e-mail", &chars(SUBJECT_CHARS_MAX)],
            [
                "Name of a team, account, key, contact, sender, template or phone number",
                &chars(NAME_CHARS_MAX),
            ],
            ["External id of a sub-account", &chars(EXTERNAL_ID_CHARS_MAX)],
            ["Reason, note", &chars(NOTE_CHARS_MAX)],
            ["Label of an address, tag of a contact", &chars(LABEL_CHARS_MAX)],
            ["Idempotency key", &chars(IDEMPOTENCY_KEY_CHARS_MAX)],
            ["Metadata, variables of a message", &object],
            ["`sendAt`", &send_ahead],
            ["Grace period of a rotated key", &grace_days],
            [
                "Range of `usage` and of `tollgate usage export`",
                &format!("{} days", count(RANGE_DAYS_MAX)),
            ],
        ],
    );
}

fn templates(page: &mut Page) {
    page.heading("Templates");
    page.text("A part is the subject, the text or the HTML of a body.");
    page.table(
        ["Limit", "Maximum", "Code"],
        &[
            ["Sources of all bodies", &bytes(SOURCES_BYTES_MAX), "BODIES_INVALID"],
            ["Declared variables", &count(VARIABLES_MAX), "VARIABLES_INVALID"],
            [
                "Characters of a variable's name",
                &count(VARIABLE_NAME_CHARS_MAX),
                "VARIABLES_INVALID",
            ],
            ["Characters of a variable's default", &count(DEFAULT_CHARS_MAX), "VARIABLES_INVALID"],
            ["Tags of a part", &count(TAGS_MAX), "SYNTAX_INVALID"],
            ["Words, values and signs of a tag", &count(TAG_TOKENS_MAX), "SYNTAX_INVALID"],
            ["Nested brackets", &count(BRACKETS_MAX), "SYNTAX_INVALID"],
            ["Nested `if` and `for`", &count(BLOCKS_MAX), "SYNTAX_INVALID"],
            ["Nested `for`", &count(LOOPS_MAX), "SYNTAX_INVALID"],
            ["`elif` of a part", &count(BRANCHES_MAX), "SYNTAX_INVALID"],
            ["Characters of a line", &count(LINE_CHARS_MAX), "SYNTAX_INVALID"],
            ["Steps of rendering a part", &format!("about {}", count(FUEL)), "TEMPLATE_FAILED"],
            [
                "Processor time of all templates of a request",
                &time(TIME_MAX),
                "TEMPLATE_FAILED; BAD_USER_INPUT when a template is stored",
            ],
        ],
    );
}

fn connections(page: &mut Page) {
    page.heading("Connections");
    // hyper sets the maximum number of headers.
    let head = format!(
        "{}, 100 headers, {} from its first byte",
        bytes(http::HEAD_BYTES_MAX),
        time(http::HEAD_TIMEOUT)
    );
    let small = bytes(http::SMALL_BYTES);
    let pace = format!(
        "{} parts; after the first {interval}, at least {} in each {interval}",
        count(http::PARTS_MAX),
        bytes(http::PROGRESS_BYTES),
        interval = time(http::PROGRESS_INTERVAL)
    );
    page.table(
        ["Limit", "Maximum", "Beyond it"],
        &[
            [
                "Connections, WebSockets included",
                &format!(
                    "{}, or three quarters of the files that the process may open",
                    count(http::CONNECTIONS_MAX)
                ),
                "closed immediately",
            ],
            [
                "Connections of one address. `--trusted-proxies` are exempt",
                "half of these",
                "closed immediately",
            ],
            [
                "Connections for metrics",
                &format!("{}, half of them for one address", count(http::METRICS_CONNECTIONS_MAX)),
                "closed immediately",
            ],
            ["Head of a request", &head, "status 431, or closed"],
            [
                &format!("Unfinished heads of more than {small}, together"),
                &with_address(&bytes(http::HEADS_BYTES_MAX), &bytes(http::HEADS_BYTES_OF_PEER_MAX)),
                "status 503",
            ],
            ["Body while it arrives", &pace, "refused, then closed"],
            [
                &format!(
                    "Body with a declared length of less than {}: the pace does not apply to it",
                    bytes(http::SHORT_BYTES)
                ),
                &time(http::SHORT_TIMEOUT),
                "refused, then closed",
            ],
            [
                &format!("Bodies that arrive for more than {}", time(http::TRANSIT_AFTER)),
                &format!(
                    "{} of a team, {} of a key",
                    count(http::AWAITED_OF_TEAM_MAX),
                    count(http::AWAITED_OF_KEY_MAX)
                ),
                "UNAVAILABLE",
            ],
            [
                &format!(
                    "Bodies of more than {} until they are parsed, together",
                    bytes(http::BYTES_UNCOUNTED)
                ),
                &with_team(&bytes(http::HELD_BYTES_MAX), &bytes(http::HELD_BYTES_OF_TEAM_MAX)),
                "UNAVAILABLE",
            ],
            ["Time to receive a response", &time(http::WRITE_TIMEOUT), "closed"],
            ["Time between requests", &time(http::IDLE_TIMEOUT), "closed"],
        ],
    );
    page.text(&format!(
        "A connection is closed after the response to a head of more than {small}. A client receives a refusal even if \
         it has not sent its whole body: after the response the server reads up to {} of the rest, until nothing has \
         arrived for {}, or for {} in all. {} connections can be in that state, {} of one address; others are closed \
         immediately.",
        bytes(http::DISCARD_BYTES_MAX),
        time(http::DISCARD_IDLE_TIMEOUT),
        time(http::DISCARD_TIMEOUT),
        count(http::DISCARDING_MAX),
        count(http::DISCARDING_OF_PEER_MAX)
    ));
}

fn websockets(page: &mut Page) {
    page.heading("WebSockets");
    page.text("[Subscriptions](../guide/subscriptions.md) describes the protocol and the events.");
    let subscriptions = format!(
        "{}; {} of one team and {} of one account",
        count(http::SUBSCRIPTIONS_MAX),
        count(http::SUBSCRIPTIONS_OF_TEAM_MAX),
        count(http::SUBSCRIPTIONS_OF_ACCOUNT_MAX)
    );
    let controls = format!(
        "{} per second, {} at once",
        count(http::CONTROLS_PER_SECOND.get()),
        count(http::CONTROLS_MAX.get())
    );
    page.table(
        ["Limit", "Maximum", "Beyond it"],
        &[
            [
                "Sockets",
                &with_team(&count(http::SOCKETS_MAX), &count(http::SOCKETS_OF_TEAM_MAX)),
                "status 503, or closed with 1013",
            ],
            [
                "Sockets whose key is not known yet",
                &with_address(
                    &count(http::UNAUTHENTICATED_MAX),
                    &count(http::UNAUTHENTICATED_OF_PEER_MAX),
                ),
                "the oldest that has not sent a key is closed with 1013",
            ],
            ["Time until the client sends a key", &time(http::INIT_DEADLINE), "closed with 4408"],
            [
                "Message to the server",
                &format!(
                    "{}; {} before the key is known",
                    bytes(http::BODY_BYTES_MAX),
                    bytes(http::INIT_BYTES_MAX)
                ),
                "closed with 1009",
            ],
            [
                &format!(
                    "Messages to the server of more than {} until they are handled, together",
                    bytes(http::SMALL_BYTES)
                ),
                &with_team(
                    &bytes(http::MESSAGES_BYTES_MAX),
                    &bytes(http::MESSAGES_BYTES_OF_TEAM_MAX),
                ),
                "closed with 1013",
            ],
            [
                "Characters of an operation's id",
                &count(http::OPERATION_ID_CHARS_MAX),
                "closed with 4400",
            ],
            ["Operations in progress on a socket", &count(http::OPERATIONS_MAX), "RATE_LIMITED"],
            ["Subscriptions", &subscriptions, "RATE_LIMITED"],
            [
                "Pings, pongs and `complete` of unknown operations on a socket",
                &controls,
                "closed with 1008",
            ],
            [
                "Messages to clients that wait to be sent, together",
                &with_team(&bytes(WAITING_BYTES_MAX), &bytes(WAITING_BYTES_OF_TEAM_MAX)),
                "the operation ends with UNAVAILABLE",
            ],
            [
                "Time that a message waits to be sent",
                &time(http::QUEUE_TIMEOUT),
                "closed with 1013",
            ],
            ["Time to receive a message", &time(http::SEND_TIMEOUT), "closed"],
        ],
    );
}

fn files(page: &mut Page) {
    page.heading("Files of the command line");
    page.text(
        "`price import`, `number import` and `contact import` refuse a file that exceeds a limit.",
    );
    page.table(
        ["Limit", "Maximum"],
        &[
            ["Size of a file", &bytes(csv_file::BYTES_MAX)],
            ["Size of a row", &bytes(csv_file::ROW_BYTES_MAX)],
            ["Columns", &count(csv_file::COLUMNS_MAX)],
            ["Prices", &count(price_import::ROWS_MAX)],
            ["Phone numbers", &count(inventory_import::ROWS_MAX)],
            ["Contacts", &count(CONTACT_ROWS_MAX)],
            ["Tags or addresses in a cell", &count(CELL_LINES_MAX)],
        ],
    );
}

fn levels<N: TryInto<u64>>(number: N) -> String {
    format!("{} levels", count(number))
}

fn with_team(of_all: &str, of_team: &str) -> String {
    format!("{of_all}; {of_team} of one team")
}

fn with_address(of_all: &str, of_address: &str) -> String {
    format!("{of_all}; {of_address} of one address")
}

fn connections_of(number: u32) -> String {
    format!("{number} database connection{}", if number == 1 { "" } else { "s" })
}

fn fraction(part: f64) -> String {
    format!("1/{:.0}", 1.0 / part)
}
