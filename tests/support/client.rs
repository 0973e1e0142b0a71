//! A small HTTP/1.1 client. The client keeps the connection alive, records when a request was written, and can
//! disconnect before the response.

use std::{
    io::{Error, ErrorKind, Result},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Maximum wait for a response, longer than any deadline of the program.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);

pub struct Client {
    /// The local address of connections; `None` for the default one.
    local: Option<IpAddr>,
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    /// When the last request's bytes were written.
    pub written: Option<Instant>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        self.body.parse().unwrap_or_default()
    }

    /// Returns the code of the first top-level error.
    pub fn code(&self) -> Option<String> {
        self.json()["errors"][0]["extensions"]["code"].as_str().map(str::to_owned)
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { local: None, address, connection: None, written: None }
    }

    /// Returns a client that connects from a local address.
    pub fn new_from(local: IpAddr, address: SocketAddr) -> Self {
        Self { local: Some(local), ..Self::new(address) }
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: tollgate\r\n\r\n").as_bytes()).await
    }

    pub async fn graphql(&mut self, key: &str, query: &str, variables: &Value) -> Result<Answer> {
        let (head, body) = post(key, query, variables, "");
        self.ask(&[head, body].concat()).await
    }

    /// Sends a request, and disconnects after a pause even if there is no response.
    pub async fn hang_up_after(self, pause: Duration, key: &str, query: &str, variables: &Value) {
        let (head, body) = post(key, query, variables, "");
        let mut client = self;
        let _ = timeout(pause, client.ask(&[head, body].concat())).await;
    }

    /// Sends the head of a request, and waits until the server asks for the body. The request has then begun. Returns
    /// the body, which must still be sent.
    pub async fn begin(&mut self, key: &str, query: &str, variables: &Value) -> Result<Vec<u8>> {
        let (head, body) = post(key, query, variables, "Expect: 100-continue\r\n");
        let connection = self.connection().await?;
        connection.get_mut().write_all(&head).await?;
        match timeout(RESPONSE_TIMEOUT, read_head(connection)).await?? {
            (100, _) => Ok(body),
            (status, _) => Err(Error::other(format!("{status} instead of 100"))),
        }
    }

    /// Sends the body of a request that has begun.
    pub async fn finish(&mut self, body: &[u8]) -> Result<Answer> {
        self.ask(body).await
    }

    async fn ask(&mut self, bytes: &[u8]) -> Result<Answer> {
        self.written = None;
        let asked =
            timeout(RESPONSE_TIMEOUT, self.exchange(bytes)).await.map_err(Error::from).flatten();
        if !matches!(asked, Ok((_, true))) {
            self.connection = None;
        }
        Ok(asked?.0)
    }

    /// Sends the bytes. Returns the response, and whether the connection is kept alive.
    async fn exchange(&mut self, bytes: &[u8]) -> Result<(Answer, bool)> {
        let connection = self.connection().await?;
        connection.get_mut().write_all(bytes).await?;
        self.written = Some(Instant::now());
        let connection = self.connection().await?;
        let (status, headers) = read_head(connection).await?;
        let header = |name: &str| {
            headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|found| &found.1)
        };
        let length = header("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| bad("the response has no Content-Length"))?];
        connection.read_exact(&mut body).await?;
        let body = String::from_utf8(body).map_err(|_| bad("the response is not UTF-8"))?;
        let is_kept = header("connection").is_none_or(|value| value != "close");
        Ok((Answer { status, body }, is_kept))
    }

    async fn connection(&mut self) -> Result<&mut BufReader<TcpStream>> {
        if self.connection.is_none() {
            self.connection = Some(BufReader::new(connect(self.local, self.address).await?));
        }
        self.connection.as_mut().ok_or_else(|| bad("there is no connection"))
    }
}

/// Connects from a local address, or from the default one.
pub async fn connect(local: Option<IpAddr>, address: SocketAddr) -> Result<TcpStream> {
    let stream = match local {
        Some(local) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind((local, 0).into())?;
            socket.connect(address).await?
        }
        None => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn bad(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

fn post(key: &str, query: &str, variables: &Value, header: &str) -> (Vec<u8>, Vec<u8>) {
    let body = json!({ "query": query, "variables": variables }).to_string().into_bytes();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: tollgate\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{header}\r\n",
        body.len()
    );
    (head.into_bytes(), body)
}

async fn read_head(connection: &mut BufReader<TcpStream>) -> Result<(u16, Vec<(String, String)>)> {
    let first = read_line(connection).await?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut headers = Vec::new();
    loop {
        let line = read_line(connection).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok((status.ok_or_else(|| bad("the response has no status"))?, headers))
}

async fn read_line(connection: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    match connection.read_line(&mut line).await? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
