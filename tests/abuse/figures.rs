//! Percentiles of times, and the printed table of results.

use std::{io::Write as _, sync::Once, time::Duration};

use crate::{Database, is_full};

/// The goal for the 95th percentile of a probe's times during an attack, on an otherwise idle machine. The tests do not
/// assert this goal.
const P95_GOAL: Duration = Duration::from_millis(250);

/// The times that the requests of one probe took.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort();
        Self(times)
    }

    /// Returns the percentile of the times, or zero if there are no times.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    pub fn worst(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

/// The printed row of one attack.
pub struct Row<'r> {
    pub attack: &'r str,
    pub database: Database,
    pub quiet: &'r Times,
    pub during: &'r Times,
    pub refused: usize,
    pub peak_mb: Option<f64>,
    /// Why the server process ended; `None` if the process is still running.
    pub ended: Option<&'r str>,
}

impl Row<'_> {
    /// Prints the row in Markdown. The test runner does not capture the row.
    pub fn print(&self) {
        static HEADER: Once = Once::new();
        let goal = if is_full() { " p95 within 250 ms |" } else { "" };
        HEADER.call_once(|| {
            let columns = goal.matches('|').count() + 9;
            let header = "| attack | database | quiet p50 / p95 | p95 | worst | p95 / quiet | refused \
                          | peak MB | process |";
            print(&format!("{header}{goal}\n|{}", " --- |".repeat(columns)));
        });
        let p95 = (self.quiet.percentile(95), self.during.percentile(95));
        let factor = p95.1.as_secs_f64() / p95.0.as_secs_f64().max(f64::MIN_POSITIVE);
        let goal = match is_full() {
            true if p95.1 <= P95_GOAL => " yes |",
            true => " no |",
            false => "",
        };
        print(&format!(
            "| {} | {:?} | {} / {} | {} | {} | {factor:.1} | {} | {} | {} |{goal}",
            self.attack,
            self.database,
            milliseconds(self.quiet.percentile(50)),
            milliseconds(p95.0),
            milliseconds(p95.1),
            milliseconds(self.during.worst()),
            self.refused,
            self.peak_mb.map_or_else(|| "?".to_owned(), |peak| format!("{peak:.0}")),
            self.ended.unwrap_or("alive"),
        ));
    }
}

/// Formats a time in milliseconds, with one decimal place if the time is below 10 milliseconds.
pub fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1_000.0;
    let decimals = usize::from(milliseconds < 10.0);
    format!("{milliseconds:.decimals$} ms")
}

fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
