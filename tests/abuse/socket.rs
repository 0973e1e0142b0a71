//! An attacker's WebSocket. Frames are prepared bytes. The masking key of each frame is zero, so masking leaves the
//! payload unchanged.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    client::connect,
    raw_client::{ResponseStart, read_answer},
};

const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nHost: tollgate\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: graphql-transport-ws\r\n";

pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// The ping of the sub-protocol `graphql-transport-ws`.
pub const PROTOCOL_PING: &[u8] = br#"{"type":"ping"}"#;

/// A socket, or its receiving half.
pub struct Socket<S = TcpStream>(BufReader<S>);

/// Why a socket was not opened, or was closed.
#[derive(Debug)]
pub enum SocketError {
    /// The socket was closed with this code.
    Closed(u16),
    /// The upgrade was refused.
    Refused(ResponseStart),
    /// The connection broke.
    Broken(ErrorKind),
}

impl From<io::Error> for SocketError {
    fn from(failure: io::Error) -> Self {
        Self::Broken(failure.kind())
    }
}

impl Socket {
    /// Opens a socket without a key.
    pub async fn open(local: Option<IpAddr>, address: SocketAddr) -> Result<Self, SocketError> {
        Self::upgrade(local, address, "").await
    }

    /// Opens a socket, and sends a key in its first message.
    pub async fn with_key(
        local: Option<IpAddr>,
        address: SocketAddr,
        key: &str,
    ) -> Result<Self, SocketError> {
        Self::upgrade(local, address, "").await?.initialize(&init(key)).await
    }

    /// Opens a socket with a key in the header of the handshake.
    pub async fn with_key_in_header(
        local: Option<IpAddr>,
        address: SocketAddr,
        key: &str,
    ) -> Result<Self, SocketError> {
        let header = format!("Authorization: Bearer {key}\r\n");
        let init = frame(TEXT, br#"{"type":"connection_init"}"#);
        Self::upgrade(local, address, &header).await?.initialize(&init).await
    }

    async fn upgrade(
        local: Option<IpAddr>,
        address: SocketAddr,
        header: &str,
    ) -> Result<Self, SocketError> {
        let mut stream = BufReader::new(connect(local, address).await?);
        stream.get_mut().write_all(format!("{UPGRADE}{header}\r\n").as_bytes()).await?;
        let (brief, _) = read_answer(&mut stream).await?;
        if brief.status == 101 { Ok(Self(stream)) } else { Err(SocketError::Refused(brief)) }
    }

    async fn initialize(mut self, init: &[u8]) -> Result<Self, SocketError> {
        self.send(init).await?;
        let answer = self.next().await?;
        let is_acknowledged = answer.contains("connection_ack");
        if is_acknowledged { Ok(self) } else { Err(SocketError::Broken(ErrorKind::InvalidData)) }
    }

    /// Sends frames.
    pub async fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(frames).await
    }

    /// Splits the socket into halves, for concurrent sending and receiving.
    pub fn into_halves(self) -> (Socket<OwnedReadHalf>, OwnedWriteHalf) {
        let (incoming, outgoing) = self.0.into_inner().into_split();
        (Socket(BufReader::new(incoming)), outgoing)
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Returns the next text message. Control frames are ignored.
    pub async fn next(&mut self) -> Result<String, SocketError> {
        loop {
            let first = self.0.read_u8().await?;
            let length = match self.0.read_u8().await? {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                length => u64::from(length),
            };
            let length =
                usize::try_from(length).map_err(|_| SocketError::Broken(ErrorKind::InvalidData))?;
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await?;
            match first & 0x0f {
                TEXT => return Ok(String::from_utf8_lossy(&payload).into_owned()),
                CLOSE => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    return Err(SocketError::Closed(code));
                }
                _ => {}
            }
        }
    }
}

/// Returns a frame as sent by a client.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | kind];
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0xfe);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Returns a frame with the `connection_init` message, which contains the key.
pub fn init(key: &str) -> Vec<u8> {
    let payload = json!({ "authorization": format!("Bearer {key}") });
    frame(TEXT, json!({ "type": "connection_init", "payload": payload }).to_string().as_bytes())
}

/// Returns a frame with a `subscribe` message. `variables` is JSON text.
pub fn subscribe(id: &str, query: &str, variables: &str) -> Vec<u8> {
    let (id, query) = (json!(id), json!(query));
    let message = format!(
        r#"{{"id":{id},"type":"subscribe","payload":{{"query":{query},"variables":{variables}}}}}"#
    );
    frame(TEXT, message.as_bytes())
}
