//! The server's process as `/proc` shows it: its memory, and how busy it is.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

/// A process, by its id.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// Lets the peak of its memory begin anew.
    pub fn forget_peak(self) {
        // Where the kernel does not take it, the peak is that since its start.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.0), "5");
    }

    /// The most memory that it held; `None` once it has ended.
    pub fn peak_mb(self) -> Option<f64> {
        self.memory_mb("VmHWM:")
    }

    /// The memory that it holds.
    pub fn held_mb(self) -> Option<f64> {
        self.memory_mb("VmRSS:")
    }

    fn memory_mb(self, name: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1_024.0 / 1e6)
    }

    /// Waits until it hardly works any more, or for so long.
    pub async fn rests(self, at_most: Duration) {
        const POLL_INTERVAL: Duration = Duration::from_millis(200);
        const TICKS_OF_REST: u64 = 2;
        let mut before = self.ticks();
        let looks = at_most.as_millis() / POLL_INTERVAL.as_millis();
        for _ in 0..looks {
            sleep(POLL_INTERVAL).await;
            let now = self.ticks();
            if now.saturating_sub(before) <= TICKS_OF_REST {
                return;
            }
            before = now;
        }
    }

    /// User and system time, in hundredths of a second.
    fn ticks(self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // The name, which stands in brackets, may have spaces; user and system time are 12 and 13 after it.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let times = after_name.split(' ').skip(11).take(2);
        times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }
}

/// How many connections one address can have to the server: half of what the server takes in all, which the
/// limit of open files bounds. Raises this process's own limit to what the system allows.
pub fn connections_of_address() -> usize {
    /// What the server takes of one address where the limit of files allows it.
    const OF_ADDRESS: u64 = 6_144;
    /// Files of this process that are no connections of the attack.
    const OTHER_FILES: u64 = 500;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let of_address = OF_ADDRESS.min(files / 8 * 3).min(files.saturating_sub(OTHER_FILES));
    usize::try_from(of_address).expect("a small number")
}
