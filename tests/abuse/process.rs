//! The memory and the processor time of the server process, read from `/proc`.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

/// A process, identified by its id.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// Resets the recorded peak of the process's memory.
    pub fn reset_peak(self) {
        // If the kernel does not support the reset, the peak since the start of the process is used.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.0), "5");
    }

    /// Returns the peak memory of the process since the reset, in MB, or `None` if the process has ended.
    pub fn peak_mb(self) -> Option<f64> {
        self.memory_mb("VmHWM:")
    }

    /// Returns the current memory of the process in MB, or `None` if the process has ended.
    pub fn held_mb(self) -> Option<f64> {
        self.memory_mb("VmRSS:")
    }

    fn memory_mb(self, name: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1_024.0 / 1e6)
    }

    /// Waits until the process is nearly idle, or until the timeout.
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

    /// Returns the user and system time of the process, in hundredths of a second.
    fn ticks(self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // The name in parentheses may contain spaces. User and system time are fields 12 and 13 after it.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let times = after_name.split(' ').skip(11).take(2);
        times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }
}

/// Returns how many connections to the server one address can have. This number depends on the limit on open files. The
/// function also raises the limit on open files of this process to the maximum.
pub fn connections_per_address() -> usize {
    /// The server's maximum number of connections per address. The limit on open files may lower the number.
    const ADDRESS_MAX: u64 = 6_144;
    /// Number of open files that this process needs in addition to the attack's connections.
    const OTHER_FILES: u64 = 500;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let of_address = ADDRESS_MAX.min(files / 8 * 3).min(files.saturating_sub(OTHER_FILES));
    usize::try_from(of_address).expect("a small number")
}
