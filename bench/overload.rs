//! An open-loop load generator. It sends requests at a constant rate that does not depend on the responses, and prints
//! the results as JSON. In contrast, wrk waits for each response and therefore cannot overload a server.
//!
//! `cargo run --release --example overload -- 127.0.0.1:8080 keys.txt body.json --rate 4000`
//!
//! Each connection has a schedule. If a request is due while its connection is still waiting for the previous response,
//! the request is not sent and is counted as `missed`.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use clap::Parser;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};

/// The golden ratio. The fractional parts of its consecutive multiples are evenly distributed between 0 and 1.
const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;

#[derive(Parser)]
struct Args {
    /// The server's host and port.
    address: String,
    /// A file with a key on each line.
    keys: std::path::PathBuf,
    /// A file with the body of each request.
    body: std::path::PathBuf,
    /// Requests per second.
    #[arg(long)]
    rate: u32,
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    #[arg(long, default_value_t = 2048)]
    connections: u32,
}

/// The results of one connection, or of all connections in total.
#[derive(Default)]
struct Tally {
    missed: u64,
    broken: u64,
    unanswered: u64,
    other: u64,
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.missed += other.missed;
        self.broken += other.broken;
        self.unanswered += other.unanswered;
        self.other += other.other;
        self.accepted.extend(other.accepted);
        self.refused.extend(other.refused);
    }

    fn count(&mut self, answer: &[u8], took: Duration) {
        let has_status = |status: &[u8]| answer[b"HTTP/1.1 ".len()..].starts_with(status);
        if has_status(b"200") && contains(answer, b"\"errors\":[]") {
            self.accepted.push(took);
        } else if has_status(b"503") || has_status(b"429") || contains(answer, b"UNAVAILABLE") {
            self.refused.push(took);
        } else {
            self.other += 1;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let keys = std::fs::read_to_string(&args.keys).context("cannot read the file of keys")?;
    let body = std::fs::read_to_string(&args.body).context("cannot read the file of the body")?;
    let requests: Arc<Vec<Vec<u8>>> =
        Arc::new(keys.lines().map(|key| request(&args.address, key, &body)).collect());
    anyhow::ensure!(!requests.is_empty(), "the file of keys is empty");

    let mut streams = Vec::new();
    for number in 0..args.connections {
        if number % 32 == 0 {
            // Connections are opened one by one at short intervals instead of in bursts, because the rate of new
            // connections is not measured.
            sleep(Duration::from_millis(2)).await;
        }
        let stream = TcpStream::connect(&args.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now() + Duration::from_millis(100);
    let end = start + Duration::from_secs(args.seconds.into());
    let interval = Duration::from_secs(1) / args.rate * args.connections;
    let mut tasks = Vec::new();
    for (stream, number) in streams.into_iter().zip(0_u32..) {
        // The first requests of the connections are spread over the interval. Otherwise, connections that were opened
        // at the same time would send their requests at the same time, and these requests could be refused together.
        let first = start + interval.mul_f64((f64::from(number) * GOLDEN_RATIO).fract());
        let requests = Arc::clone(&requests);
        tasks.push(tokio::spawn(drive(stream, requests, number as usize, first, interval, end)));
    }
    let mut all = Tally::default();
    for task in tasks {
        all.add(task.await?);
    }
    print(all);
    Ok(())
}

fn request(address: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends a request at `first` and then at every interval, until `end`.
async fn drive(
    mut stream: TcpStream,
    requests: Arc<Vec<Vec<u8>>>,
    mut index: usize,
    first: Instant,
    interval: Duration,
    end: Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut due = first;
    let mut answer = Vec::with_capacity(4096);
    while due < end {
        sleep_until(due).await;
        let sent = Instant::now();
        answer.clear();
        match exchange(&mut stream, &requests[index % requests.len()], &mut answer).await {
            Ok(()) if Instant::now() > end => {
                tally.unanswered += 1;
                return tally;
            }
            Ok(()) => tally.count(&answer, sent.elapsed()),
            Err(_) => {
                tally.broken += 1;
                return tally;
            }
        }
        index += 1;
        due += interval;
        while due < Instant::now() {
            tally.missed += 1;
            due += interval;
        }
    }
    tally
}

/// Writes the request, and reads the complete response.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut Vec<u8>,
) -> std::io::Result<()> {
    stream.write_all(request).await?;
    loop {
        // The client waits instead of polling, to leave the processor to the server.
        stream.readable().await?;
        match stream.try_read_buf(answer) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if is_complete(answer) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns whether the complete response has been received: its head, and a body of the length in `content-length`.
fn is_complete(answer: &[u8]) -> bool {
    let Some(head) = find(answer, b"\r\n\r\n") else { return false };
    let lines = std::str::from_utf8(&answer[..head]).unwrap_or_default().lines();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    answer.len() >= head + 4 + length.unwrap_or(0)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn print(mut all: Tally) {
    let shown = serde_json::json!({
        "accepted": all.accepted.len(),
        "refused": all.refused.len(),
        "other": all.other,
        "broken": all.broken,
        "unanswered": all.unanswered,
        "missed": all.missed,
        "accepted_p50_ms": percentile(&mut all.accepted, 50),
        "accepted_p99_ms": percentile(&mut all.accepted, 99),
        "refused_p50_ms": percentile(&mut all.refused, 50),
        "refused_p99_ms": percentile(&mut all.refused, 99),
    });
    println!("{shown}");
}

/// Returns the percentile of the times in milliseconds, or `None` if there are no times.
fn percentile(times: &mut [Duration], percent: usize) -> Option<f64> {
    times.sort_unstable();
    let time = times.get(times.len() * percent / 100)?;
    Some(time.as_secs_f64() * 1000.0)
}
