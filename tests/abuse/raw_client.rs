//! An attacker's HTTP client. It sends prepared bytes and keeps only the beginning of a response, so that the attack
//! itself uses few of the machine's resources.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::client::connect;

/// Maximum number of bytes of a response's body that are kept.
const KEPT_BYTES: usize = 2_048;

/// The status of a response, and the beginning of its body.
#[derive(Debug)]
pub struct ResponseStart {
    pub status: u16,
    pub beginning: String,
}

impl ResponseStart {
    /// Returns the first error code in the response, from a top-level error or from a payload.
    pub fn code(&self) -> Option<&str> {
        code_in(&self.beginning)
    }
}

/// Returns the value of the first member `code` in the JSON.
pub fn code_in(json: &str) -> Option<&str> {
    let (_, rest) = json.split_once(r#""code":""#)?;
    rest.split_once('"').map(|(code, _)| code)
}

pub struct RawClient {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl RawClient {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Sends a request, and reads the response.
    pub async fn ask(&mut self, request: &[u8]) -> Result<ResponseStart> {
        let written = self.write(request).await;
        // The server may refuse the request before all of it is written.
        self.read().await.map_err(|failure| written.err().unwrap_or(failure))
    }

    /// Sends bytes, and connects first if needed.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(BufReader::new(connect(None, self.address).await?));
        }
        match &mut self.connection {
            Some(connection) => connection.get_mut().write_all(bytes).await,
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Reads a response. After an error, the connection is closed.
    pub async fn read(&mut self) -> Result<ResponseStart> {
        let mut connection = self.connection.take().ok_or(ErrorKind::NotConnected)?;
        let (brief, is_kept) = read_answer(&mut connection).await?;
        self.connection = is_kept.then_some(connection);
        Ok(brief)
    }

    /// Waits until there are bytes to read, or until the connection is closed.
    pub async fn is_answered(&mut self) {
        if let Some(connection) = &mut self.connection {
            let _ = connection.fill_buf().await;
        }
    }

    /// Resets the connection, so that its port is free immediately.
    pub fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.get_ref().set_zero_linger();
        }
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Reads a response, and returns whether the connection is kept alive.
pub async fn read_answer(connection: &mut BufReader<TcpStream>) -> Result<(ResponseStart, bool)> {
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
    Ok((ResponseStart { status, beginning }, is_kept))
}
