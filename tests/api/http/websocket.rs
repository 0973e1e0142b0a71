//! Limits and log entries of WebSocket connections: unauthenticated sockets, control frames and large messages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use db_test::db_test;
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tollgate::http::{CONTROLS_MAX, UNAUTHENTICATED_OF_PEER_MAX};

use crate::harness::{Log, Received, Socket, TestApp};

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

/// When an address opens more unauthenticated sockets than allowed, the oldest of them is closed. Other addresses are
/// not affected.
#[db_test]
async fn one_address_has_a_limited_number_of_unauthenticated_sockets(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let mut oldest = Socket::silent(server.address).await;
    let mut silent: Vec<Socket> =
        join_all((1..UNAUTHENTICATED_OF_PEER_MAX).map(|_| Socket::silent(server.address))).await;

    // A key in the upgrade request's header authenticates the socket.
    let bearer = format!("Bearer {}", team.key);
    let known = [PROTOCOL, ("authorization", &*bearer)];
    let mut known = Socket::open(server.address, &known).await.expect("a socket");
    known.send(json!({ "type": "connection_init" })).await;
    assert_eq!(known.next().await, Received::Message(json!({ "type": "connection_ack" })));
    let wrong = [PROTOCOL, ("authorization", "Bearer tg_live_wrong")];
    assert_eq!(Socket::open(server.address, &wrong).await.err(), Some(401));
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    assert!(Socket::open_from(other, server.address, &[PROTOCOL]).await.is_ok());

    let known = silent.last_mut().expect("one of many");
    let payload = json!({ "apiKey": team.key });
    known.send(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(known.next().await, Received::Message(json!({ "type": "connection_ack" })));
    assert_eq!(oldest.before_pong().await, []);
    // The limit no longer includes the socket that has just been authenticated, so this new socket causes no other to
    // be closed.
    let _last = Socket::silent(server.address).await;
    assert_eq!(oldest.before_pong().await, []);
    let mut next = Socket::silent(server.address).await;
    assert_eq!(oldest.next().await, Received::Closed(1013));
    next.send(json!({ "type": "connection_init", "payload": { "apiKey": team.key } })).await;
    assert_eq!(next.next().await, Received::Message(json!({ "type": "connection_ack" })));
}

#[db_test]
async fn log_entries_of_a_socket_have_the_request_id_of_its_upgrade(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let (log, _until_the_end) = Log::begin();
    t.execute("UPDATE account SET metadata = 'broken'").await;

    let headers = [PROTOCOL, ("x-request-id", "socket-17")];
    let mut socket = Socket::open(server.address, &headers).await.expect("a socket");
    let payload = json!({ "apiKey": team.key });
    socket.send(json!({ "type": "connection_init", "payload": payload })).await;
    socket.next().await;
    socket.subscribe("a", "{ account { metadata } }").await;
    let Received::Message(answer) = socket.next().await else { panic!("an answer was expected") };
    let error = &answer["payload"]["errors"][0];
    assert_eq!(error["extensions"]["code"], "INTERNAL_SERVER_ERROR");

    let text = log.text();
    let line = text.lines().find(|line| line.contains("A request failed")).expect("a line");
    assert!(line.contains("request{request.id=\"socket-17\""), "{line}");
    assert!(!text.contains(&team.key), "{text}");
    t.execute("UPDATE account SET metadata = NULL").await;
}

/// Returns one control message of each kind. Control messages cost nothing.
fn controls() -> [Vec<u8>; 5] {
    let text = |message: serde_json::Value| frame(0x81, message.to_string().as_bytes());
    [
        frame(0x89, b"x"),
        frame(0x8a, b"x"),
        text(json!({ "type": "ping" })),
        text(json!({ "type": "pong" })),
        text(json!({ "type": "complete", "id": "nothing" })),
    ]
}

/// The limit does not include control messages that the client's operations need.
#[db_test]
async fn control_messages_of_a_client_are_rate_limited(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let init = json!({ "type": "connection_init", "payload": { "apiKey": team.key } }).to_string();
    for is_known in [false, true] {
        for control in controls() {
            let mut stream = upgraded(server.address).await;
            if is_known {
                stream.write_all(&frame(0x81, init.as_bytes())).await.expect("it is read");
            }
            // Far more control messages than the limit allows in the time that the server needs to read them.
            let many = control.repeat(100 * CONTROLS_MAX.get() as usize);
            stream.write_all(&many).await.expect("it is read");
            assert_eq!(said(&mut stream).await.closed(), Some(1008), "{control:?}");
        }
    }

    let mut socket = Socket::with_key(server.address, &team.key).await;
    for _ in 0..CONTROLS_MAX.get() / 2 {
        socket.send(json!({ "type": "complete", "id": "nothing" })).await;
    }
    for at in 0..2 * CONTROLS_MAX.get() {
        let id = at.to_string();
        socket.subscribe(&id, "subscription { balanceChanged { balance } }").await;
        socket.send(json!({ "type": "complete", "id": id })).await;
    }
    assert_eq!(socket.before_pong().await, []);
}

/// The limit is large because browsers send their cookies with the upgrade request.
#[db_test]
async fn the_headers_of_an_upgrade_may_be_large(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let cookie = format!("a={}", "x".repeat(9_000));
    let mut socket =
        Socket::open(server.address, &[PROTOCOL, ("cookie", &*cookie)]).await.expect("a socket");
    let payload = json!({ "apiKey": team.key });
    socket.send(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(socket.next().await, Received::Message(json!({ "type": "connection_ack" })));
}

/// RFC 6455 requires that a close frame is answered with a close frame. It also defines the codes for protocol errors.
#[db_test]
async fn a_close_is_answered_with_a_close_and_a_protocol_error_with_its_code(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let init = json!({ "type": "connection_init", "payload": { "apiKey": team.key } }).to_string();
    let init = frame(0x81, init.as_bytes());
    let unmasked = b"\x81\x01x".to_vec();
    let before_init = frame(0x81, &b"x".repeat(16 * 1024 + 1));
    for (what, is_known, said_by_client, code) in [
        ("a close", true, frame(0x88, &1000_u16.to_be_bytes()), 1000),
        ("a close that goes away", true, frame(0x88, &1001_u16.to_be_bytes()), 1001),
        ("a close without a code", true, frame(0x88, b""), 1005),
        ("a close before the init", false, frame(0x88, &1000_u16.to_be_bytes()), 1000),
        ("a frame without a mask", true, unmasked, 1002),
        ("a reserved bit", true, frame(0xc1, b"{}"), 1002),
        ("an unknown kind of frame", true, frame(0x83, b"{}"), 1002),
        ("text that is not UTF-8", true, frame(0x81, b"\xff"), 1007),
        ("a message that is too large", true, frame(0x81, &b"x".repeat(256 * 1024 + 1)), 1009),
        ("one before the init", false, before_init, 1009),
    ] {
        let mut stream = upgraded(server.address).await;
        if is_known {
            stream.write_all(&init).await.expect("it is read");
        }
        stream.write_all(&said_by_client).await.expect("it is read");
        let said = said(&mut stream).await;
        assert_eq!(said.closed(), Some(code), "{what}: {said:?}");
        assert!(said.has_ended, "{what}: the connection was reset");
    }
}

/// Returns the beginning of a message that never ends, in frames of 8,000 bytes, with a ping after each frame.
fn unfinished(frames: usize) -> Vec<u8> {
    let part = b"x".repeat(8_000);
    let frame_of = |at| [frame(u8::from(at == 0), &part), frame(0x89, b"x")].concat();
    (0..frames).flat_map(frame_of).collect()
}

/// Reads this many pongs with one byte each. If other bytes arrive, returns them as the error.
async fn pongs(stream: &mut TcpStream, count: usize) -> Result<(), Vec<u8>> {
    for _ in 0..count {
        let mut pong = vec![0; 3];
        if stream.read_exact(&mut pong).await.is_err() || pong != b"\x8a\x01x" {
            let _ = stream.read_to_end(&mut pong).await;
            return Err(pong);
        }
    }
    Ok(())
}

/// Until a socket is authenticated, the limit of the socket applies to these bytes, and afterwards the limit of the
/// team. Control frames between the frames of the message change nothing.
#[db_test]
async fn the_bytes_of_an_unfinished_message_count(t: &TestApp) {
    let (team, other, server) = (t.team(1_000).await, t.team(1_000).await, t.serve().await);
    // An unauthenticated socket may use 32 KiB of memory for its messages.
    let mut stream = upgraded(server.address).await;
    stream.write_all(&unfinished(4)).await.expect("it is read");
    assert_eq!(pongs(&mut stream, 4).await, Ok(()));
    stream.write_all(&unfinished(5)[4 * 8_015..]).await.expect("it is read");
    assert_eq!(said(&mut stream).await.closed(), Some(1009));

    let begun = async |key: &str| {
        let init = json!({ "type": "connection_init", "payload": { "apiKey": key } }).to_string();
        let mut stream = upgraded(server.address).await;
        stream.write_all(&frame(0x81, init.as_bytes())).await.expect("it is read");
        let ack = json!({ "type": "connection_ack" }).to_string();
        let mut answer = vec![0; 2 + ack.len()];
        stream.read_exact(&mut answer).await.expect("a response");
        assert_eq!(answer[2..], *ack.as_bytes());
        let _ = stream.write_all(&unfinished(31)).await;
        pongs(&mut stream, 31).await.map(|()| stream)
    };
    // All sockets of a team may use 32 MiB of memory for their messages.
    let mut held = Vec::new();
    let refused = loop {
        match begun(&team.key).await {
            Ok(stream) => held.push(stream),
            Err(refused) => break refused,
        }
    };
    assert_eq!(held.len(), 32 * 1024 * 1024 / (31 * 8_008));
    assert_eq!((refused[0], &refused[2..4]), (0x88, &1013_u16.to_be_bytes()[..]), "a close");
    assert!(begun(&other.key).await.is_ok());
    drop(held);
}

/// The memory for a message is released when the message has been handled, even if its socket stays open.
#[db_test]
async fn a_large_message_counts_only_until_it_is_handled(t: &TestApp) {
    let (team, server) = (t.team(1_000).await, t.serve().await);
    let mut held = Vec::new();
    // The team's limit of 32 MiB is enough for 128 of these messages at the same time.
    for at in 0..140 {
        let mut socket = Socket::with_key(server.address, &team.key).await;
        // This operation is one frame and is not valid.
        socket.subscribe("a", &" ".repeat(255 * 1024)).await;
        let Received::Message(refused) = socket.next().await else {
            panic!("socket {at} is closed")
        };
        assert_eq!(refused["payload"][0]["extensions"]["code"], "QUERY_TOO_LARGE");
        assert_eq!(socket.before_pong().await, []);
        held.push(socket);
    }
}

/// Builds a client's frame with a zero mask. `first` contains the final bit and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).expect("it is short")),
        medium @ ..65_536 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(medium).expect("it is no longer").to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Opens a connection and upgrades it to a WebSocket.
async fn upgraded(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let head = "GET /graphql HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                sec-websocket-protocol: graphql-transport-ws\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it is read");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a response"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// The frames that a server sent on a socket before the socket ended.
#[derive(Debug)]
struct Said {
    frames: Vec<(u8, Vec<u8>)>,
    /// Whether the socket ended without a reset.
    has_ended: bool,
}

impl Said {
    /// Returns the code of the close frame. Returns 1005 if the close frame has no code, and nothing if the last frame
    /// is not a close frame.
    fn closed(&self) -> Option<u16> {
        let (first, payload) = self.frames.last()?;
        (*first == 0x88).then(|| match payload[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 1005,
        })
    }
}

async fn said(stream: &mut TcpStream) -> Said {
    let mut bytes = Vec::new();
    let has_ended = stream.read_to_end(&mut bytes).await.is_ok();
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let [first, length, after @ ..] = rest {
        assert!(*length < 126, "only short frames are expected");
        let (payload, after) = after.split_at(usize::from(*length));
        frames.push((*first, payload.to_vec()));
        rest = after;
    }
    Said { frames, has_ended }
}
