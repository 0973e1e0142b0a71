//! Where the server listens, from where it may be asked, and how much: the arguments of `serve` and `demo`.

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
/// Connections that wait to be taken: a burst of clients must not wait for a second SYN.
const BACKLOG: u32 = 4_096;

/// Who may ask for how much.
#[derive(Args)]
pub struct HttpArgs {
    /// Rate limit of one key, in estimated fields of answers per second; 0: no limit.
    #[arg(long, env = "TOLLGATE_KEY_RATE_LIMIT", default_value_t = http::KEY_RATE_DEFAULT)]
    key_rate_limit: u32,
    /// The same for all keys of one account together.
    #[arg(long, env = "TOLLGATE_ACCOUNT_RATE_LIMIT", default_value_t = http::ACCOUNT_RATE_DEFAULT)]
    account_rate_limit: u32,
    /// Proxies in front of the server, as networks such as 10.0.0.0/8 or single addresses: what they say in
    /// X-Forwarded-For counts as the client's address.
    #[arg(long, env = "TOLLGATE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    #[arg(
        long,
        env = "TOLLGATE_CORS_ORIGINS",
        value_delimiter = ',',
        value_parser = origin,
        help = "Origins whose web pages may use the API, such as https://app.example.com; none by default"
    )]
    cors_origins: Vec<HeaderValue>,
    /// Words by which people opt out besides STOP and the like, such as ALTO,BASTA.
    #[arg(long, env = "TOLLGATE_STOP_WORDS", value_delimiter = ',', value_parser = stop_word)]
    stop_words: Vec<String>,
    /// The address of /metrics for Prometheus, or off. By default 127.0.0.1:9090 if it is free.
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

/// An address to listen on: the host is an IP address, a name, or left out for every IPv4 address.
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
        return Err(format!(
            "{EXPECTED}; an IPv6 address is written in brackets, as in [::1]:8080"
        ));
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found.map_err(|error| format!("{EXPECTED}: {error}"))?.collect();
    // localhost is often both, and clients try 127.0.0.1.
    let preferred = found.iter().find(|address| address.is_ipv4()).or(found.first());
    preferred.copied().ok_or_else(|| EXPECTED.to_owned())
}

fn stop_word(text: &str) -> Result<String, String> {
    let word = word_of(text);
    if word.is_empty() {
        return Err("expected words with a letter or a digit, such as ALTO".to_owned());
    }
    if is_start_word(&word) {
        return Err("expected words by which people opt out; this one opts them in".to_owned());
    }
    Ok(word)
}

/// A network, or an address that is taken for a network of its own.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| address.to_canonical().into()))
        .map_err(|_| "expected networks or addresses, such as 10.0.0.0/8,192.0.2.1".to_owned())
}

/// An origin as browsers send it: scheme, host and, unless it is the scheme's own, the port. Any other text would
/// never match.
fn origin(text: &str) -> Result<HeaderValue, String> {
    const EXPECTED: &str = "expected an origin such as https://app.example.com";
    if text.contains('*') {
        return Err(format!("{EXPECTED}; there are no wildcards, so name each origin"));
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

    /// Takes the port of the metrics. Only one that was asked for must be free.
    pub async fn bind_metrics(&self) -> anyhow::Result<Option<TcpListener>> {
        let (address, was_asked_for) = match self.metrics_listen {
            Some(MetricsAddress::Off) => return Ok(None),
            Some(MetricsAddress::At(address)) => (address, true),
            None => (METRICS_LISTEN_DEFAULT, false),
        };
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if was_asked_for => Err(error).with_context(|| {
                format!("cannot listen on {address}; choose another with --metrics-listen")
            }),
            Err(error) => {
                tracing::warn!(%error, "Metrics are not served: {address} is taken; see --metrics-listen");
                Ok(None)
            }
        }
    }
}

#[derive(Args)]
pub struct ListenArgs {
    /// The address and port to listen on, such as 127.0.0.1:8080 or localhost:8080; :8080 is port 8080 of
    /// every IPv4 address of the machine.
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
    /// Takes the port before anything else is done, so that a taken one spoils nothing.
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
    fn an_address_has_a_host_or_none_and_a_port() {
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
    fn a_proxy_is_a_network_or_an_address() {
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
    fn origins_are_those_that_browsers_send() {
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
        for (text, said) in [
            ("https://*.example.com", "no wildcards"),
            ("*", "no wildcards"),
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
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
