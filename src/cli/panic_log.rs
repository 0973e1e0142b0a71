//! Logs panics as log events instead of text on standard error, so that JSON logs contain only JSON. Clients might
//! cause a panic repeatedly. Therefore only a few panics per second are logged, and the others are counted.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    num::NonZeroU32,
    panic,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{Quota, RateLimiter};

/// Number of panics that are logged in a burst, and the number per second that are logged after the burst.
const LOGGED_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).expect("not zero");

/// Installs the panic hook.
pub fn log_panics() {
    let rate = RateLimiter::direct(Quota::per_second(LOGGED_PER_SECOND));
    let not_logged = AtomicU64::new(0);
    panic::set_hook(Box::new(move |panic| {
        if rate.check().is_err() {
            not_logged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let not_logged = not_logged.swap(0, Ordering::Relaxed);
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload_as_str();
        // The backtrace is captured only if `RUST_BACKTRACE` is set.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        tracing::error!(location, payload, not_logged, backtrace, "A thread panicked");
    }));
}
