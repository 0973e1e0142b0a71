//! Limits on connections, sockets and imported files.

use tollgate::{
    domain::{
        billing::price_import,
        contact::csv::{CELL_LINES_MAX, ROWS_MAX as CONTACT_ROWS_MAX},
        csv_file,
        phone_number::inventory_import,
    },
    http::reference as http,
    limits::memory_budget::{WAITING_BYTES_MAX, WAITING_BYTES_OF_TEAM_MAX},
};

use super::{with_address, with_team};
use crate::reference::page::{Page, bytes, count, time};

pub fn connections(page: &mut Page) {
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

pub fn websockets(page: &mut Page) {
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

pub fn files(page: &mut Page) {
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
