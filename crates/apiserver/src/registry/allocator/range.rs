//! Arithmetic of a range of cluster IPs (upstream `pkg/registry/core/service/ipallocator`).

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use rand::Rng;

/// Of how many addresses or ports, at least and at most, the lower band is.
pub(super) struct Band {
    /// The lower band is this part of the whole.
    pub part: u32,
    pub min: u32,
    pub max: u32,
}

/// Cluster IPs of the lower band are given when asked for, or when nothing else is left.
const ADDRESSES: Band = Band { part: 16, min: 16, max: 256 };

impl Band {
    /// Size of the lower band of so many.
    pub fn of(&self, size: u32) -> u32 {
        if size <= self.min { 0 } else { (size / self.part).clamp(self.min, self.max) }
    }
}

/// The numbers from 1 to `size` in the order in which they are tried: first those above the lower band, each part from
/// somewhere on.
pub(super) fn order<R: Rng>(size: u32, band: u32, rng: &mut R) -> impl Iterator<Item = u32> + use<R> {
    let (upper, lower) = (rotated(band + 1..=size, rng), rotated(1..=band.min(size), rng));
    upper.chain(lower)
}

fn rotated<R: Rng>(range: RangeInclusive<u32>, rng: &mut R) -> impl Iterator<Item = u32> + use<R> {
    let start = if range.is_empty() { *range.start() } else { rng.random_range(range.clone()) };
    (start..=*range.end()).chain(*range.start()..start)
}

/// An IPv4 range of cluster IPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    network: u32,
    /// How many addresses, network and broadcast among them.
    total: u64,
}

impl Range {
    /// Reads `ADDRESS/BITS`; nothing for what is no IPv4 range.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let total = 1_u64 << (32 - bits);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
        Some(Self { network: u32::from(address) & mask, total })
    }

    /// The address that names the range; no Service has it.
    pub fn network(&self) -> Ipv4Addr {
        self.network.into()
    }

    /// The first address that Services have: that of the `kubernetes` Service.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network.saturating_add(1))
    }

    /// Whether a Service may have this address.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let offset = u64::from(u32::from(ip)).checked_sub(u64::from(self.network));
        offset.is_some_and(|offset| (1..=u64::from(self.size())).contains(&offset))
    }

    /// How many Services there is room for.
    pub fn size(&self) -> u32 {
        u32::try_from(self.total.saturating_sub(2)).unwrap_or(u32::MAX)
    }

    /// All addresses in the order in which they are tried.
    pub fn candidates<R: Rng>(&self, rng: &mut R) -> impl Iterator<Item = Ipv4Addr> + use<R> {
        let total = u32::try_from(self.total).unwrap_or(u32::MAX);
        let network = self.network;
        order(self.size(), ADDRESSES.of(total), rng).map(move |offset| Ipv4Addr::from(network + offset))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_lower_band_is_as_upstreams() {
        for (size, band) in [(2, 0), (16, 0), (32, 16), (256, 16), (1024, 64), (4096, 256), (65_536, 256)] {
            assert_eq!(ADDRESSES.of(size), band, "{size}");
        }
    }

    #[test]
    fn network_and_broadcast_are_nobodys() {
        let range = Range::parse("10.43.7.9/24").expect("a range");
        for (ip, inside) in [
            ("10.43.6.255", false),
            ("10.43.7.0", false),
            ("10.43.7.1", true),
            ("10.43.7.254", true),
            ("10.43.7.255", false),
        ] {
            assert_eq!(range.contains(ip.parse().expect("an address")), inside, "{ip}");
        }
        assert_eq!([range.network(), range.first()].map(|ip| ip.to_string()), ["10.43.7.0", "10.43.7.1"]);
        for odd in ["10.0.0.0", "10.0.0.0/33", "fd00::/64", "x/8"] {
            assert_eq!(Range::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn each_address_is_tried_once_and_the_lower_band_last() {
        for (text, count, band) in
            [("10.0.0.0/24", 254, 16), ("10.0.0.0/28", 14, 0), ("10.0.0.0/31", 0, 0), ("10.0.0.0/32", 0, 0)]
        {
            let range = Range::parse(text).expect("a range");
            let tried: Vec<Ipv4Addr> = range.candidates(&mut rand::rng()).collect();
            assert_eq!((tried.len(), tried.iter().collect::<BTreeSet<_>>().len()), (count, count), "{text}");
            let lower = |ip: &Ipv4Addr| u32::from(ip.octets()[3]) <= band;
            assert!(tried.iter().skip(count - band as usize).all(lower), "{text}: {tried:?}");
            assert!(tried.iter().all(|ip| range.contains(*ip)), "{text}");
        }
    }
}
