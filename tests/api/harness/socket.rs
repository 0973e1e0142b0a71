//! A client for the protocol `graphql-transport-ws`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// Maximum wait for an expected event.
const SOON: Duration = Duration::from_secs(20);

pub struct Socket(WebSocketStream<TcpStream>);

/// The result of reading from a socket.
#[derive(Debug, PartialEq)]
pub enum Received {
    Message(Value),
    /// The socket was closed with this code; 1005 if the close frame has no code, 1006 if there was no close frame.
    Closed(u16),
}

impl Socket {
    /// Opens a socket with these headers in the upgrade request. If the upgrade is refused, returns the HTTP status as
    /// the error.
    pub async fn open(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        Self::open_from(Ipv4Addr::LOCALHOST.into(), address, headers).await
    }

    /// Opens a socket from this local address, like [`Self::open`].
    pub async fn open_from(
        local: IpAddr,
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let url = format!("ws://{address}/graphql");
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((local, 0).into()).expect("an address of this machine");
        // Each message is sent immediately, even if the previous message is not acknowledged yet.
        socket.set_nodelay(true).expect("a socket's option");
        let stream = socket.connect(address).await.expect("the server listens");
        match client_async(request, stream).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(failure) => panic!("the server does not answer: {failure}"),
        }
    }

    /// Opens a socket and sends nothing. The socket stays unauthenticated.
    pub async fn silent(address: SocketAddr) -> Self {
        let protocol = [("sec-websocket-protocol", "graphql-transport-ws")];
        Self::open(address, &protocol).await.expect("the server accepts the socket")
    }

    /// Opens a socket and authenticates it with a key.
    pub async fn with_key(address: SocketAddr, key: &str) -> Self {
        let mut socket = Self::silent(address).await;
        let payload = json!({ "authorization": format!("Bearer {key}") });
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.next().await, Received::Message(json!({ "type": "connection_ack" })));
        socket
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        // The next read reports a closed socket.
        let _ = self.0.send(Message::Text(text.into())).await;
    }

    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.send(json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await;
    }

    /// Waits for the next message or for the end of the socket.
    pub async fn next(&mut self) -> Received {
        loop {
            let received = timeout(SOON, self.0.next()).await.expect("a message arrives");
            match received {
                Some(Ok(Message::Text(text))) => {
                    return Received::Message(text.parse().expect("JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Received::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Received::Closed(1006),
            }
        }
    }

    /// Waits for the next event of this operation and returns its data. Panics if something else arrives first.
    #[track_caller]
    pub fn event(&mut self, id: &str) -> impl Future<Output = Value> {
        let expected = json!([id, "next"]);
        async move {
            match self.next().await {
                Received::Message(mut message)
                    if json!([message["id"], message["type"]]) == expected =>
                {
                    message["payload"]["data"].take()
                }
                other => panic!("an event was expected, not {other:?}"),
            }
        }
    }

    /// Sends a ping and returns the messages that arrive before the pong.
    pub async fn before_pong(&mut self) -> Vec<Received> {
        self.send(json!({ "type": "ping" })).await;
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Received::Message(message) if message["type"] == "pong" => return before,
                Received::Closed(code) => panic!("closed with {code}"),
                came @ Received::Message(_) => before.push(came),
            }
        }
    }
}
