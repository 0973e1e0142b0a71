//! Determines the client address of a request, and limits the number of invalid keys from one address. Above the limit,
//! an invalid key is refused with `RATE_LIMITED`. A valid key is always accepted, so that clients that share an address
//! cannot lock each other out.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, HeaderName, header};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

/// Number of invalid keys that one address may send in a burst.
pub const FAILURES_MAX: u32 = 100;
/// Number of invalid keys per second that one address may send after the burst.
pub const FAILURES_PER_SECOND: u32 = 10;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The trusted proxies, and the number of invalid keys from each address.
pub struct Peers {
    /// Proxies whose `X-Forwarded-For` is used.
    trusted: Vec<IpNet>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    /// Whether the warning about an untrusted proxy has been logged.
    has_warned: AtomicBool,
}

impl Peers {
    pub fn new(trusted: Vec<IpNet>) -> Self {
        let per_second = |count| Quota::per_second(NonZeroU32::new(count).expect("not 0"));
        let quota = per_second(FAILURES_PER_SECOND)
            .allow_burst(NonZeroU32::new(FAILURES_MAX).expect("not 0"));
        Self { trusted, failures: RateLimiter::keyed(quota), has_warned: AtomicBool::new(false) }
    }

    /// Returns the client address of a request. Behind trusted proxies, the client address is the last address in
    /// `X-Forwarded-For` that is not a trusted proxy.
    pub fn of(&self, connected: Option<SocketAddr>, headers: &HeaderMap) -> IpAddr {
        let mut peer = connected.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip());
        if !self.is_trusted(peer) {
            self.warn_of_untrusted_proxy(peer, headers);
            return network(peer);
        }
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.rsplit(','));
        for hop in hops {
            let Ok(previous) = hop.trim().parse() else { break };
            peer = previous;
            if !self.is_trusted(peer) {
                break;
            }
        }
        network(peer)
    }

    /// Warns once that requests seem to come through an untrusted proxy. All clients behind such a proxy are treated as
    /// one address.
    fn warn_of_untrusted_proxy(&self, peer: IpAddr, headers: &HeaderMap) {
        if self.has_warned.load(Relaxed) {
            return;
        }
        let Some(name) = [X_FORWARDED_FOR, header::FORWARDED]
            .into_iter()
            .find(|name| headers.contains_key(name))
        else {
            return;
        };
        if !self.has_warned.swap(true, Relaxed) {
            tracing::warn!(
                %peer,
                "A request with the header {name} came from an address that is not in --trusted-proxies. If it \
                 is a proxy, all its clients count as one address"
            );
        }
    }

    /// Returns the address of a connection, or `None` for a trusted proxy, because a proxy serves many clients.
    pub fn direct(&self, connected: SocketAddr) -> Option<IpAddr> {
        let peer = connected.ip();
        (!self.is_trusted(peer)).then(|| network(peer))
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// Counts an invalid key. Returns whether the number of invalid keys is within the limit.
    pub fn note_failure(&self, peer: IpAddr) -> bool {
        self.failures.check_key(&peer).is_ok()
    }

    /// Removes the addresses that have not sent an invalid key recently.
    pub fn remove_expired(&self) {
        self.failures.retain_recent();
        self.failures.shrink_to_fit();
    }
}

/// Returns the network that is treated as one client. For an IPv6 address it is the /64 network, which usually belongs
/// to one client.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(peer) => IpAddr::V4(peer),
        IpAddr::V6(peer) => IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_address_comes_from_trusted_proxies() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let peers = Peers::new(trusted.to_vec());
        for (connected, forwarded, expected) in [
            ("203.0.113.7:1", &[][..], "203.0.113.7"),
            ("203.0.113.7:1", &["198.51.100.1"], "203.0.113.7"),
            ("10.0.0.1:1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:1", &["192.0.2.1, 198.51.100.1", "10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1:1", &["192.0.2.1, junk, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1:1", &[], "10.0.0.1"),
            ("[::ffff:10.0.0.1]:1", &["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            ("[fd00::1]:1", &["198.51.100.1"], "198.51.100.1"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().expect("a header's value"));
            }
            let peer = peers.of(Some(connected.parse().expect("an address")), &headers);
            assert_eq!(peer.to_string(), expected, "{connected} {forwarded:?}");
        }
        for (connected, expected) in [
            ("203.0.113.7:1", Some("203.0.113.7")),
            ("[2001:db8:1:2:3:4:5:6]:1", Some("2001:db8:1:2::")),
            ("10.0.0.1:1", None),
            ("[::ffff:10.0.0.1]:1", None),
        ] {
            let peer = peers.direct(connected.parse().expect("an address"));
            assert_eq!(peer.map(|peer| peer.to_string()).as_deref(), expected);
        }
    }
}
