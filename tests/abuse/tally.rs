//! What an attack was answered, counted. Refusals are welcome; one without a name is pointed out.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

use crate::{
    socket::Shut,
    wire::{Brief, code_in},
};

/// Statuses that hyper itself gives before there is a request, which have no body.
const NAMELESS_STATUSES: [u16; 4] = [400, 408, 414, 431];

#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    /// Counts something, by its name.
    pub fn count(&self, what: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.into()).or_default() += 1;
    }

    /// Counts what a request got back.
    pub fn answer(&self, answer: &io::Result<Brief>) {
        self.count(match answer {
            Ok(brief) => match brief.code() {
                Some(code) => format!("{} {code}", brief.status),
                None if brief.status < 400 || NAMELESS_STATUSES.contains(&brief.status) => {
                    brief.status.to_string()
                }
                None => format!("{} WITHOUT A NAME", brief.status),
            },
            Err(failure) => format!("no answer: {}", failure.kind()),
        });
    }

    /// Counts what a socket said.
    pub fn said(&self, said: &Result<String, Shut>) {
        self.count(match said {
            Ok(text) => code_in(text).unwrap_or("message").to_owned(),
            Err(Shut::Closed(code)) => format!("closed {code}"),
            Err(Shut::Refused(brief)) => {
                format!("{} {}", brief.status, brief.code().unwrap_or("WITHOUT A NAME"))
            }
            Err(Shut::Broken(kind)) => format!("broken: {kind}"),
        });
    }

    /// Whether one of these was counted, each as it was named or the code of an answer.
    pub fn has_any(&self, expected: &[&str]) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.keys().any(|what| {
            let code = what.split_once(' ').map(|(_, code)| code);
            expected.iter().any(|name| what == name || code == Some(name))
        })
    }

    /// What was counted, most first.
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
