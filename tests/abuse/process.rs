//! The memory and the processor time of the server's process, from `/proc`.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

/// A process, by its id.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// Resets the peak of its memory.
    pub fn reset_peak(self) {
        // If the kernel does not support this, the peak is the one since the start.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.0), "5");
    }

    /// Its maximum memory since the reset; `None` if it has ended.
    pub fn peak_mb(self) -> Option<f64> {
        self.memory_mb("VmHWM:")
    }

    /// Its memory now; `None` if it has ended.
    pub fn held_mb(self) -> Option<f64> {
        self.memory_mb("VmRSS:")
    }

    fn memory_mb(self, name: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1_024.0 / 1e6)
    }

    /// Waits until it is nearly idle, or until the timeout.
    pub async fn wait_until_idle(self, timeout: Duration) {
        const POLL_INTERVAL: Duration = Duration::from_millis(200);
        const IDLE_TICKS: u64 = 2;
        let mut before = self.ticks();
        let polls = timeout.as_millis() / POLL_INTERVAL.as_millis();
        for _ in 0..polls {
            sleep(POLL_INTERVAL).await;
            let now = self.ticks();
            if now.saturating_sub(before) <= IDLE_TICKS {
                return;
            }
            before = now;
        }
    }

    /// User and system time, in hundredths of a second.
    fn ticks(self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // The name in parentheses may contain spaces. User and system time are fields 12 and 13 after it.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let times = after_name.split(' ').skip(11).take(2);
        times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }
}

/// How many connections to the server one address can have: half of the server's limit, which depends on the
/// limit of open files. Raises this process's own limit of open files to its maximum.
pub fn connections_per_address() -> usize {
    /// The server's limit per address, if the limit of open files allows it.
    const ADDRESS_MAX: u64 = 6_144;
    /// Open files of this process other than connections of the attack.
    const OTHER_FILES: u64 = 500;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let of_address = ADDRESS_MAX.min(files / 8 * 3).min(files.saturating_sub(OTHER_FILES));
    usize::try_from(of_address).expect("a small number")
}
