//! Who asks, by address, and whose keys are too often wrong. A peer that tries keys that do not exist is
//! soon not looked at any more: `RATE_LIMITED`, for all keys but those that were right before, so that nobody
//! shuts out others who share an address with it.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
};

use axum::http::HeaderMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use moka::sync::Cache;

/// Wrong keys that a peer may try at once.
pub const FAILURES_MAX: u32 = 100;
/// And then in a second.
const FAILURES_PER_SECOND: u32 = 10;
const PEERS_MAX: u64 = 100_000;

/// Peers that tried too many wrong keys.
pub struct Peers {
    /// Proxies whose word of their clients' addresses counts.
    trusted: Vec<IpNet>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    /// Those over the limit; forgotten after a moment.
    over: Cache<IpAddr, ()>,
}

impl Peers {
    pub fn new(trusted: Vec<IpNet>) -> Self {
        let per_second = |count| Quota::per_second(NonZeroU32::new(count).expect("not 0"));
        let quota = per_second(FAILURES_PER_SECOND)
            .allow_burst(NonZeroU32::new(FAILURES_MAX).expect("not 0"));
        let moment = std::time::Duration::from_millis(1_000 / u64::from(FAILURES_PER_SECOND));
        let over = Cache::builder().max_capacity(PEERS_MAX).time_to_live(moment).build();
        Self { trusted, failures: RateLimiter::keyed(quota), over }
    }

    /// The address that a request comes from: behind trusted proxies the last one in `X-Forwarded-For` that
    /// is none of them.
    pub fn of(&self, connected: Option<SocketAddr>, headers: &HeaderMap) -> IpAddr {
        let mut peer = connected.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip());
        let forwarded: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for hop in forwarded.iter().rev() {
            if !self.is_trusted(peer) {
                break;
            }
            let Ok(before) = hop.trim().parse() else { break };
            peer = before;
        }
        network(peer)
    }

    /// The address that a connection comes from, unless it is a trusted proxy, which speaks for many.
    pub fn direct(&self, connected: SocketAddr) -> Option<IpAddr> {
        let peer = connected.ip();
        (!self.is_trusted(peer)).then(|| network(peer))
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// Whether the peer has tried too many wrong keys of late.
    pub fn is_over(&self, peer: IpAddr) -> bool {
        self.over.contains_key(&peer)
    }

    /// Notes a wrong key; whether the peer may go on.
    pub fn note_failure(&self, peer: IpAddr) -> bool {
        let may_go_on = self.failures.check_key(&peer).is_ok();
        if !may_go_on {
            self.over.insert(peer, ());
        }
        may_go_on
    }

    /// Forgets whoever has tried no wrong key for a while.
    pub fn tidy(&self) {
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
