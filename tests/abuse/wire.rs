//! An attacker's HTTP connection: it sends prepared bytes, and of an answer it keeps the beginning only, so that
//! an attack costs the machine as little as can be beside what it costs the server.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::client::connect;

/// Bytes of an answer's body that are kept.
const KEPT_BYTES: usize = 2_048;

/// An answer's status, and how its body begins.
#[derive(Debug)]
pub struct Brief {
    pub status: u16,
    pub beginning: String,
}

impl Brief {
    /// The first code that stands in it: of a top-level error, or of a refusal in a payload.
    pub fn code(&self) -> Option<&str> {
        code_in(&self.beginning)
    }
}

/// The first value of a member `code`.
pub fn code_in(json: &str) -> Option<&str> {
    let (_, rest) = json.split_once(r#""code":""#)?;
    rest.split_once('"').map(|(code, _)| code)
}

pub struct Wire {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Wire {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Sends a request's bytes and reads the answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Brief> {
        let written = self.write(request).await;
        // A refusal may come before all is written.
        self.read().await.map_err(|failure| written.err().unwrap_or(failure))
    }

    /// Sends some bytes, on a new connection if there is none.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(BufReader::new(connect(None, self.address).await?));
        }
        match &mut self.connection {
            Some(connection) => connection.get_mut().write_all(bytes).await,
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Reads an answer; without one, the connection is closed.
    pub async fn read(&mut self) -> Result<Brief> {
        let mut connection = self.connection.take().ok_or(ErrorKind::NotConnected)?;
        let (brief, is_kept) = read_answer(&mut connection).await?;
        self.connection = is_kept.then_some(connection);
        Ok(brief)
    }

    /// Waits until there is something to read, or the end.
    pub async fn is_answered(&mut self) {
        if let Some(connection) = &mut self.connection {
            let _ = connection.fill_buf().await;
        }
    }

    /// Closes the connection at once, so that its port is free again.
    pub fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.get_ref().set_zero_linger();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Reads the head of an answer and its body, and says whether the connection is kept.
pub async fn read_answer(connection: &mut BufReader<TcpStream>) -> Result<(Brief, bool)> {
    let mut line = String::new();
    let (mut status, mut length, mut is_kept) = (0, 0, true);
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name {
                "content-length" => length = value.parse().unwrap_or(0),
                "connection" => is_kept = value != "close",
                _ => {}
            }
        } else {
            let said = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            status = said.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no status"))?;
        }
    }
    let mut beginning = vec![0; length.min(KEPT_BYTES)];
    connection.read_exact(&mut beginning).await?;
    let mut left = length - beginning.len();
    while left > 0 {
        let read = connection.fill_buf().await?.len().min(left);
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        connection.consume(read);
        left -= read;
    }
    let beginning = String::from_utf8_lossy(&beginning).into_owned();
    Ok((Brief { status, beginning }, is_kept))
}
