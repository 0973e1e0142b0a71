//! Counts the responses to an attack. Refusals are expected. A refusal without an error code is marked.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

use crate::{
    raw_client::{ResponseStart, code_in},
    socket::SocketError,
};

/// Statuses that hyper returns, without a body, for requests that it cannot parse.
const STATUSES_WITHOUT_BODY: [u16; 4] = [400, 408, 414, 431];

#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    /// Counts an event by its name.
    pub fn count(&self, what: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.into()).or_default() += 1;
    }

    /// Counts the response to a request.
    pub fn answer(&self, answer: &io::Result<ResponseStart>) {
        self.count(match answer {
            Ok(brief) => match brief.code() {
                Some(code) => format!("{} {code}", brief.status),
                None if brief.status < 400 || STATUSES_WITHOUT_BODY.contains(&brief.status) => {
                    brief.status.to_string()
                }
                None => format!("{} WITHOUT A CODE", brief.status),
            },
            Err(failure) => format!("no answer: {}", failure.kind()),
        });
    }

    /// Counts a message received on a socket, or the reason why the socket ended.
    pub fn said(&self, said: &Result<String, SocketError>) {
        self.count(match said {
            Ok(text) => code_in(text).unwrap_or("message").to_owned(),
            Err(SocketError::Closed(code)) => format!("closed {code}"),
            Err(SocketError::Refused(brief)) => {
                format!("{} {}", brief.status, brief.code().unwrap_or("WITHOUT A CODE"))
            }
            Err(SocketError::Broken(kind)) => format!("broken: {kind}"),
        });
    }

    /// Whether one of these names or error codes was counted.
    pub fn has_any(&self, expected: &[&str]) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.keys().any(|what| {
            let code = what.split_once(' ').map(|(_, code)| code);
            expected.iter().any(|name| what == name || code == Some(name))
        })
    }

    /// Returns the counts, in descending order.
    pub fn summary(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        if counts.is_empty() {
            return "no answer".to_owned();
        }
        let counts: Vec<String> =
            counts.into_iter().map(|(what, count)| format!("{what} × {count}")).collect();
        counts.join(", ")
    }
}
