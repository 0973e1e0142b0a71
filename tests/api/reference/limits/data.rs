//! Limits on stored data, responses, lists, fields and templates.

use tollgate::{
    domain::{
        api_key::{GRACE_SECONDS_MAX, KEYS_PER_ACCOUNT_MAX},
        billing::{
            test_storage::{TEST_BYTES_MAX, TEST_MESSAGES_MAX},
            usage::{BUCKET_BYTES, BUCKETS_MAX, RANGE_DAYS_MAX},
        },
        channel::{
            content::{CHAT_CHARS_MAX, EMAIL_BYTES_MAX, SMS_CHARS_MAX, SUBJECT_CHARS_MAX},
            schedule::SEND_AHEAD_MAX,
        },
        contact::{address::ADDRESSES_PER_CONTACT_MAX, tag::TAGS_PER_CONTACT_MAX},
        list::{LONG_LOOKED_AT_MAX, LOOKED_AT_MAX, TOTAL_MAX},
        message::test_retention::TEST_KEPT_FOR,
        phone_number::NUMBERS_MAX,
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
    limits::memory_budget::{PART_BYTES, PARTS_MAX, TEXT_BYTES_MAX, VALUE_BYTES},
};

use super::levels;
use crate::reference::page::{Page, bytes, count, time};

pub fn writing(page: &mut Page) {
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

pub fn stored_data(page: &mut Page) {
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

pub fn responses(page: &mut Page) {
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

pub fn lists(page: &mut Page) {
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

pub fn fields(page: &mut Page) {
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

pub fn templates(page: &mut Page) {
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
