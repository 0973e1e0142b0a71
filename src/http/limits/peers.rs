//! The address that a request comes from, and how many wrong keys may come from it. Beyond that a wrong key is
//! refused with `RATE_LIMITED`; a right one always passes, so that nobody shuts out others who share an
//! address.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, HeaderName, header};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

/// Wrong keys that a peer may try at once.
pub const FAILURES_MAX: u32 = 100;
/// And then in a second.
pub const FAILURES_PER_SECOND: u32 = 10;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses, and the wrong keys that came from them.
pub struct Peers {
    /// Proxies whose word of their clients' addresses counts.
    trusted: Vec<IpNet>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    /// Whether a proxy that is not trusted was warned of.
    has_warned: AtomicBool,
}

impl Peers {
    pub fn new(trusted: Vec<IpNet>) -> Self {
        let per_second = |count| Quota::per_second(NonZeroU32::new(count).expect("not 0"));
        let quota = per_second(FAILURES_PER_SECOND)
            .allow_burst(NonZeroU32::new(FAILURES_MAX).expect("not 0"));
        Self { trusted, failures: RateLimiter::keyed(quota), has_warned: AtomicBool::new(false) }
    }

    /// The address that a request comes from: behind trusted proxies the last one in `X-Forwarded-For` that
    /// is none of them.
    pub fn of(&self, connected: Option<SocketAddr>, headers: &HeaderMap) -> IpAddr {
        let mut peer = connected.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip());
        if !self.is_trusted(peer) {
            self.warn_of_proxy(peer, headers);
            return network(peer);
        }
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.rsplit(','));
        for hop in hops {
            let Ok(before) = hop.trim().parse() else { break };
            peer = before;
            if !self.is_trusted(peer) {
                break;
            }
        }
        network(peer)
    }

    /// Says once that clients seem to come through a proxy that is not trusted: they all count as one address.
    fn warn_of_proxy(&self, peer: IpAddr, headers: &HeaderMap) {
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
                "A request came with {name} from an address that is not in --trusted-proxies: all clients of \
                 a proxy there count as one address"
            );
        }
    }

    /// The address that a connection comes from, unless it is a trusted proxy, which speaks for many.
    pub fn direct(&self, connected: SocketAddr) -> Option<IpAddr> {
        let peer = connected.ip();
        (!self.is_trusted(peer)).then(|| network(peer))
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// Notes a wrong key; whether the peer may try more.
    pub fn note_failure(&self, peer: IpAddr) -> bool {
        self.failures.check_key(&peer).is_ok()
    }

    /// Forgets whoever has tried no wrong key for a while.
    pub fn remove_expired(&self) {
        self.failures.retain_recent();
        self.failures.shrink_to_fit();
    }
}

/// An IPv6 client is its network of 64 bits.
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
    fn a_peer_is_who_trusted_proxies_say_it_is() {
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
