//! The constants that `docs/reference/limits.md` lists, and the statuses in `docs/reference/errors.md`.

pub use super::{
    body::{
        AWAITED_OF_KEY_MAX, AWAITED_OF_TEAM_MAX, BYTES_UNCOUNTED, HELD_BYTES_MAX,
        HELD_BYTES_OF_TEAM_MAX, PARTS_MAX, PROGRESS_BYTES, PROGRESS_INTERVAL, SHORT_BYTES,
        SHORT_TIMEOUT, TRANSIT_AFTER,
    },
    execution::REQUEST_DEADLINE,
    limits::{
        admission::{
            HELD_MAX, HELD_OF_TEAM_MAX, PERMIT_TIMEOUT, PERMITS_MAX, PERMITS_OF_TEAM_MAX,
            REFUSAL_DELAY_MAX, REFUSALS_PER_SECOND,
        },
        connections::{
            CONNECTIONS_MAX, HEAD_BYTES_MAX,
            connection_state::{HEAD_TIMEOUT, IDLE_TIMEOUT, SMALL_BYTES, WRITE_TIMEOUT},
            guarded_stream::{
                DISCARD_BYTES_MAX, DISCARD_IDLE_TIMEOUT, DISCARD_TIMEOUT, DISCARDING_MAX,
                DISCARDING_OF_PEER_MAX, HEADS_BYTES_MAX, HEADS_BYTES_OF_PEER_MAX,
                MESSAGES_BYTES_MAX, MESSAGES_BYTES_OF_TEAM_MAX,
            },
        },
        peers::{FAILURES_MAX, FAILURES_PER_SECOND},
        rate::{
            ACCOUNT_PROCESSORS, ACCOUNT_READS, BYTES_COVERED, BYTES_OF_FIELD, KEY_PROCESSORS,
            KEY_READS,
        },
        time_rate::{
            PROCESSING_FREE, PROCESSING_SAVED_MAX, READING_FREE, READING_SAVED_MAX, WAIT_MAX,
        },
    },
    negotiation::RANGES_MAX,
    ops::{log::REQUEST_ID_CHARS_MAX, metrics::CONNECTIONS_MAX as METRICS_CONNECTIONS_MAX},
    request::BODY_BYTES_MAX,
    response::status_of,
    websocket::{
        handshake::{INIT_BYTES_MAX, INIT_DEADLINE},
        limits::{
            CONTROLS_MAX, CONTROLS_PER_SECOND, SOCKETS_MAX, SOCKETS_OF_TEAM_MAX,
            UNAUTHENTICATED_MAX, UNAUTHENTICATED_OF_PEER_MAX,
        },
        message::{ID_CHARS_MAX as OPERATION_ID_CHARS_MAX, SEND_TIMEOUT},
        operation::QUEUE_TIMEOUT,
        session::OPERATIONS_MAX,
        subscription_limits::{
            OF_TEAM_MAX as SUBSCRIPTIONS_OF_TEAM_MAX, SUBSCRIPTIONS_MAX,
            SUBSCRIPTIONS_OF_ACCOUNT_MAX,
        },
    },
};
