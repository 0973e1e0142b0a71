//! Subscriptions over WebSocket.

mod audience;
mod lost_events;
mod scale;
mod socket;

use std::net::SocketAddr;

use crate::harness::Socket;

const BALANCE: &str =
    "subscription { balanceChanged { balance isSubAccount totalSpent creditLimit } }";

const MESSAGES: &str = "subscription { messageUpdated { id status cost } }";
const ACCOUNTS: &str = "subscription { accountUpdated { id status totalSpent creditLimit } }";

/// The price of an SMS: 100 cents.
const PRICE_MICROS: i64 = 1_000_000;

/// Opens a socket with this key and subscribes to this query with the id `a`.
async fn listening(address: SocketAddr, key: &str, query: &str) -> Socket {
    let mut socket = Socket::with_key(address, key).await;
    socket.subscribe("a", query).await;
    assert_eq!(socket.before_pong().await, []);
    socket
}
