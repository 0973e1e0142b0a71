//! The HTTP arguments for `serve` and `demo`: addresses, rate limits, trusted proxies, CORS and stop words.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::Context;
use axum::http::HeaderValue;
use clap::Args;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpSocket};
use url::{Host, Url};

use crate::{
    domain::opt_out::inbound::{StopWords, is_start_word, word_of},
    http,
};

const METRICS_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_090);
/// Length of the queue of connections that have not been accepted yet. It is long enough that the clients in a burst do
/// not have to retry their SYN packets.
const BACKLOG: u32 = 4_096;

#[derive(Args)]
pub struct HttpArgs {
    /// Rate limit per key, in estimated response fields per second; 0: no limit.
    #[arg(long, env = "TOLLGATE_KEY_RATE_LIMIT", default_value_t = http::KEY_RATE_DEFAULT)]
    key_rate_limit: u32,
    /// Rate limit per account, for all its keys in total; 0: no limit.
    #[arg(long, env = "TOLLGATE_ACCOUNT_RATE_LIMIT", default_value_t = http::ACCOUNT_RATE_DEFAULT)]
    account_rate_limit: u32,
    /// Proxies whose X-Forwarded-For is used as the client's address: networks such as 10.0.0.0/8 or single
    /// addresses, separated by commas.
    #[arg(long, env = "TOLLGATE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    #[arg(
        long,
        env = "TOLLGATE_CORS_ORIGINS",
        value_delimiter = ',',
        value_parser = origin,
        help = "Origins allowed by CORS, such as https://app.example.com, separated by commas"
    )]
    cors_origins: Vec<HeaderValue>,
    /// Additional opt-out keywords besides STOP and its variants, such as ALTO,BASTA.
    #[arg(long, env = "TOLLGATE_STOP_WORDS", value_delimiter = ',', value_parser = stop_word)]
    stop_words: Vec<String>,
    /// The address on which /metrics is served, or off [default: 127.0.0.1:9090, if it is free].
    #[arg(long, env = "TOLLGATE_METRICS_LISTEN", value_parser = metrics_address)]
    metrics_listen: Option<MetricsAddress>,
}

#[derive(Clone, Copy)]
enum MetricsAddress {
    Off,
    At(SocketAddr),
}

fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(MetricsAddress::Off);
    }
    let found = address(text).map_err(|problem| problem.replace(":8080", ":9090"));
    found.map(MetricsAddress::At).map_err(|problem| format!("{problem}; or off"))
}

/// Parses an address to listen on. The host is an IP address, a name, or empty for all IPv4 addresses.
fn address(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "expected an address and a port, such as 127.0.0.1:8080";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
    let port: u16 = port.parse().map_err(|_| EXPECTED)?;
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if host.contains(':') {
        return Err(format!("{EXPECTED}; write an IPv6 address in brackets, as in [::1]:8080"));
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found.map_err(|error| format!("{EXPECTED}: {error}"))?.collect();
    // `localhost` often has an IPv6 and an IPv4 address. The IPv4 address is preferred, because many clients use
    // 127.0.0.1.
    let preferred = found.iter().find(|address| address.is_ipv4()).or(found.first());
    preferred.copied().ok_or_else(|| EXPECTED.to_owned())
}

fn stop_word(text: &str) -> Result<String, String> {
    let word = word_of(text);
    if word.is_empty() {
        return Err("expected keywords with letters or digits, such as ALTO".to_owned());
    }
    if is_start_word(&word) {
        return Err("expected opt-out keywords; this one is an opt-in keyword".to_owned());
    }
    Ok(word)
}

/// Parses a network. A single address is parsed as a network with one address.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| address.to_canonical().into()))
        .map_err(|_| "expected networks or addresses, such as 10.0.0.0/8,192.0.2.1".to_owned())
}

/// Parses an origin in the form in which browsers send it: a scheme, a host, and the port unless it is the default
/// port. An origin in any other form is refused, because it would never match.
fn origin(text: &str) -> Result<HeaderValue, String> {
    const EXPECTED: &str = "expected an origin such as https://app.example.com";
    if text.contains('*') {
        return Err(format!("{EXPECTED}; wildcards are not supported, so list each origin"));
    }
    let url = Url::parse(text).map_err(|error| format!("{EXPECTED} ({error})"))?;
    let is_web = ["http", "https"].contains(&url.scheme());
    let is_name = |name: &str| {
        name.split('.').all(|label| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !label.is_empty() && label.bytes().all(is_part)
        })
    };
    let has_host = match url.host() {
        Some(Host::Domain(name)) => is_name(name),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    if !is_web || !has_host {
        return Err(EXPECTED.to_owned());
    }
    let origin = url.origin().ascii_serialization();
    if origin != text {
        return Err(format!("{EXPECTED}; browsers send {origin}"));
    }
    HeaderValue::from_str(text).map_err(|_| EXPECTED.to_owned())
}

impl HttpArgs {
    pub fn settings(self, has_sandbox: bool) -> http::Settings {
        http::Settings {
            key_rate: self.key_rate_limit,
            account_rate: self.account_rate_limit,
            trusted_proxies: self.trusted_proxies,
            cors_origins: self.cors_origins,
            has_sandbox,
            stop_words: StopWords::with(&self.stop_words),
        }
    }

    /// Binds the metrics listener. Returns `None` if the metrics are off or if the default port is already in use. A
    /// port that was specified explicitly must be free.
    pub async fn bind_metrics(&self) -> anyhow::Result<Option<TcpListener>> {
        let (address, is_explicit) = match self.metrics_listen {
            Some(MetricsAddress::Off) => return Ok(None),
            Some(MetricsAddress::At(address)) => (address, true),
            None => (METRICS_LISTEN_DEFAULT, false),
        };
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if is_explicit => Err(error).with_context(|| {
                format!("cannot listen on {address}; choose another address with --metrics-listen")
            }),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "Metrics are not served, because {address} is in use; choose another address with \
                     --metrics-listen"
                );
                Ok(None)
            }
        }
    }
}

#[derive(Args)]
pub struct ListenArgs {
    /// The address and port to listen on, such as 127.0.0.1:8080 or localhost:8080. :8080 listens on all IPv4
    /// addresses of the machine.
    #[arg(
        long,
        env = "TOLLGATE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = address
    )]
    listen: SocketAddr,
}

impl ListenArgs {
    /// Binds the API listener. This is done first, so that a port that is already in use is reported before anything is
    /// changed.
    pub fn bind(&self) -> anyhow::Result<TcpListener> {
        let bound = || {
            let socket = match self.listen {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(self.listen)?;
            socket.listen(BACKLOG)
        };
        bound().with_context(|| {
            format!("cannot listen on {}; choose another address with --listen", self.listen)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_has_a_port_and_an_optional_host() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(address(text).expect(text).to_string(), expected);
        }
        for text in ["8080", "localhost", "127.0.0.1", "localhost:", ":65536", "::1:8080", ""] {
            let error = address(text).expect_err(text);
            assert!(error.contains("such as 127.0.0.1:8080"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_a_network_or_an_address() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("fd00::1", "fd00::1/128"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ] {
            assert_eq!(network(text).expect(text).to_string(), expected);
        }
        for text in ["foo", "10.0.0.0/33", "10.0.0.1:80", ""] {
            assert_eq!(
                network(text),
                Err("expected networks or addresses, such as 10.0.0.0/8,192.0.2.1".to_owned())
            );
        }
    }

    #[test]
    fn an_origin_must_be_spelled_as_browsers_send_it() {
        for text in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://xn--bcher-kva.example",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://my_app.example",
        ] {
            assert_eq!(origin(text).expect(text), text);
        }
        for (text, expected) in [
            ("https://*.example.com", "wildcards are not supported"),
            ("*", "wildcards are not supported"),
            ("http://", "empty host"),
            ("https://a b", "invalid"),
            ("https://app.example.com/", "browsers send https://app.example.com"),
            ("https://app.example.com/path", "browsers send https://app.example.com"),
            ("https://App.Example.com", "browsers send https://app.example.com"),
            ("https://app.example.com:443", "browsers send https://app.example.com"),
            ("http://app.example.com:80", "browsers send http://app.example.com"),
            ("https://bücher.example", "browsers send https://xn--bcher-kva.example"),
            ("https://user@app.example.com", "browsers send https://app.example.com"),
            (" https://app.example.com", "browsers send https://app.example.com"),
            ("https://exa$mple.com", "expected an origin"),
            ("https://a..b", "expected an origin"),
            ("https://.", "expected an origin"),
            ("app.example.com", "expected an origin"),
            ("ftp://app.example.com", "expected an origin"),
            ("null", "expected an origin"),
            ("", "expected an origin"),
        ] {
            let error = origin(text).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
