//! Which addresses are reachable.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use url::{Host, Url};

use super::{EgressSettings, ServiceError};

/// Which addresses functions may connect to.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) enabled: bool,
    allow: Arc<[Network]>,
}

/// An address range.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: u128,
    mask: u128,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let unreadable = || format!("sandbox.egress.allow: '{text}' is no address range such as 10.1.0.0/16");
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| unreadable())?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits: u32 = if bits.is_empty() { width } else { bits.parse().map_err(|_| unreadable())? };
        if bits > width {
            return Err(unreadable());
        }
        let mask = u128::MAX.checked_shl(128 - bits - offset).unwrap_or(0);
        Ok(Self { address: number(address) & mask, mask })
    }

    fn contains(self, address: IpAddr) -> bool {
        number(address) & self.mask == self.address
    }
}

/// IPv4 as its IPv4-mapped IPv6 form, so that both are one kind.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Whether an address belongs to the public internet. Ranges of the IANA special-purpose registries are not; IPv6
/// forms that carry an IPv4 address are judged by that.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && (c == 0 || c == 2);
    let relays = a == 192 && b == 88 && c == 99;
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || a >= 224
        || shared
        || protocol
        || relays
        || benchmark
        || v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation())
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [first, second, ..] = v6.segments();
    let embedded = |at: usize| {
        let octets = v6.octets();
        is_public_v4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]))
    };
    match (first, second) {
        // NAT64 and 6to4 carry an IPv4 address.
        (0x64, 0xff9b) => v6.segments()[2..6].iter().all(|segment| *segment == 0) && embedded(12),
        (0x2002, _) => embedded(2),
        // Teredo, ORCHID, documentation, and the protocol assignments around them.
        (0x2001, second) => second > 0x1ff && second != 0xdb8,
        (0x3fff, second) => second > 0x0fff,
        // Everything routable is inside 2000::/3.
        _ => (0x2000..=0x3fff).contains(&first),
    }
}

impl Policy {
    pub(super) fn new(settings: &EgressSettings) -> Result<Self, String> {
        let allow = settings.allow.iter().map(|text| Network::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { enabled: settings.enabled, allow })
    }

    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.enabled && (is_public(address) || self.allow.iter().any(|network| network.contains(address)))
    }

    fn refusal(host: &str) -> ServiceError {
        ServiceError::new(format!("functions may not connect to {host}: its address is not public"))
            .with_code("ERR_EGRESS_DENIED")
    }

    /// Literal addresses never meet the resolver.
    pub(super) fn check(&self, url: &Url) -> Result<(), ServiceError> {
        let literal = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            _ => None,
        };
        match literal {
            Some(address) if !self.admits(address) => Err(Self::refusal(url.host_str().unwrap_or(""))),
            _ => Ok(()),
        }
    }

    pub(super) async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
        let admitted: Vec<SocketAddr> = found.into_iter().filter(|address| self.admits(address.ip())).collect();
        if admitted.is_empty() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, Denied(name.to_owned())));
        }
        Ok(admitted)
    }
}

/// A name none of whose addresses is admitted.
#[derive(Debug, thiserror::Error)]
#[error("functions may not connect to {0}: its addresses are not public")]
pub(super) struct Denied(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> Policy {
        let allow = allow.iter().map(ToString::to_string).collect();
        Policy::new(&EgressSettings { allow, ..EgressSettings::default() }).unwrap()
    }

    #[test]
    fn only_public_addresses_are_admitted() {
        let policy = policy(&[]);
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!policy.admits(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(policy.admits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn ranges_of_the_configuration_are_admitted_and_no_more() {
        let policy = policy(&["10.1.0.0/16", "127.0.0.1", "fd00:1::/32"]);
        for (address, admitted) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:10.1.0.9", true),
            ("fd00:1::5", true),
            ("fd00:2::5", false),
        ] {
            assert_eq!(policy.admits(address.parse().unwrap()), admitted, "{address}");
        }
        assert!(Network::parse("10.0.0.0/33").is_err());
        assert!(Network::parse("nonsense").is_err());
    }

    #[test]
    fn odd_spellings_of_an_address_are_the_address() {
        let policy = policy(&[]);
        for url in [
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://[::ffff:7f00:1]/",
            "http://①②⑦.0.0.1/",
        ] {
            assert!(policy.check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused() {
        let error = policy(&[]).resolve("localhost").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
