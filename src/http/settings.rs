//! The settings of the HTTP server. The command line sets them.

use axum::http::HeaderValue;
use ipnet::IpNet;

use crate::domain::opt_out::inbound::StopWords;

/// The default rate limits are higher than the rate that one account reached on a machine with two processors: 5,000
/// lists per second, each with 50 sub-accounts and 230 fields.
pub const KEY_RATE_DEFAULT: u32 = 2_000_000;
pub const ACCOUNT_RATE_DEFAULT: u32 = 4_000_000;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Estimated response fields per second for each key; 0: no limit.
    pub key_rate: u32,
    /// Estimated response fields per second for each account; 0: no limit.
    pub account_rate: u32,
    /// Proxies whose `X-Forwarded-For` is used.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins allowed by CORS.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether LIVE messages are sent to the sandbox. In this case [`super::sandbox_inbound::PATH`] is served.
    pub has_sandbox: bool,
    /// Message texts with which recipients opt out.
    pub stop_words: StopWords,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_rate: KEY_RATE_DEFAULT,
            account_rate: ACCOUNT_RATE_DEFAULT,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            has_sandbox: false,
            stop_words: StopWords::default(),
        }
    }
}
