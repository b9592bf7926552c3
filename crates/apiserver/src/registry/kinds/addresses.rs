//! IP addresses and ranges of them, as strictly as 1.37 reads them (apimachinery `pkg/util/validation/ip.go`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use machinery::field::{Errors, FieldError, Path};
use machinery::text::go_quote;

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const NO_INTERFACE: &str = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    address: IpAddr,
    /// Leading bits that all addresses of the range share.
    pub bits: u8,
}

impl Range {
    /// Whether the range is of IPv4.
    pub(super) fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether all addresses of the other range are in this one, and it is not the same.
    pub(super) fn strictly_holds(&self, other: &Range) -> bool {
        self.is_v4() == other.is_v4()
            && self.bits < other.bits
            && mask(other.address, self.bits) == mask(self.address, self.bits)
    }

    fn canonical(&self) -> String {
        format!("{}/{}", mask(self.address, self.bits), self.bits)
    }
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or_default();
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or_default();
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// Reads an address that may have needless zeros in front of its numbers, as Go once did.
fn lenient(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let octet = |octet: &str| match octet.trim_start_matches('0') {
        "" if octet.is_empty() => None,
        "" => Some(0),
        digits => digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?,
    };
    let octets: Option<Vec<u8>> = text.split('.').map(octet).collect();
    <[u8; 4]>::try_from(octets?).ok().map(IpAddr::from)
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Reads a range that may be written in ways that are no longer permitted.
pub(super) fn lenient_range(text: &str) -> Option<Range> {
    let (address, bits) = text.split_once('/')?;
    let address = lenient(address)?;
    let bits = bits.bytes().all(|byte| byte.is_ascii_digit()).then(|| bits.parse().ok())??;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Range { address, bits })
}

/// An address, or why it is none.
pub(super) fn ip(text: &str, path: &Path) -> Result<IpAddr, FieldError> {
    let refuse = |detail: &str| FieldError::invalid(path, text, detail);
    let address = lenient(text).ok_or_else(|| refuse(NO_ADDRESS))?;
    if text.parse::<IpAddr>().is_err() {
        return Err(refuse("must not have leading 0s"));
    }
    if is_mapped(address) { Err(refuse("must not be an IPv4-mapped IPv6 address")) } else { Ok(address) }
}

/// Why this is no address for a field that is older than the strict rules: what was there before (`old`) may stay
/// whatever it is.
pub(super) fn new_ip(text: &str, old: &[&str], path: &Path) -> Option<FieldError> {
    if old.contains(&text) { None } else { ip(text, path).err() }
}

/// The same for ranges.
pub(super) fn new_range(text: &str, old: &[&str], path: &Path) -> Option<FieldError> {
    if old.contains(&text) { None } else { range(text, path).err() }
}

/// Whether these are one address (or range) of each family, and no more.
pub(super) fn is_dual_stack(values: &[&str]) -> bool {
    let family = |value: &str| {
        let address = value.split('/').next().unwrap_or_default();
        lenient(address).map(|address| address.is_ipv4())
    };
    match values {
        [one, other] => {
            matches!((family(one), family(other)), (Some(one), Some(other)) if one != other)
        }
        _ => false,
    }
}

/// Why this is no address in the one form that newer fields permit.
pub(super) fn canonical_ip(text: &str, path: &Path) -> Option<FieldError> {
    match ip(text, path) {
        Err(error) => Some(error),
        Ok(address) => not_canonical(text, &address.to_string(), path),
    }
}

/// A range, or why it is none.
pub(super) fn range(text: &str, path: &Path) -> Result<Range, FieldError> {
    let refuse = |detail: &str| FieldError::invalid(path, text, detail);
    let range = lenient_range(text).ok_or_else(|| refuse(NO_RANGE))?;
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    if address.parse::<IpAddr>().is_err() || (bits.len() > 1 && bits.starts_with('0')) {
        return Err(refuse("must not have leading 0s in IP or prefix length"));
    }
    if is_mapped(range.address) {
        return Err(refuse("must not have an IPv4-mapped IPv6 address"));
    }
    if mask(range.address, range.bits) != range.address {
        return Err(refuse("must not have bits set beyond the prefix length"));
    }
    Ok(range)
}

/// Why this is no range in the one form that newer fields permit.
pub(super) fn canonical_range(text: &str, path: &Path) -> Option<FieldError> {
    match range(text, path) {
        Err(error) => Some(error),
        Ok(range) => not_canonical(text, &range.canonical(), path),
    }
}

/// Why this is no address of an interface with the bits of its network.
pub(super) fn interface(text: &str, path: &Path) -> Option<FieldError> {
    let Some(range) = lenient_range(text) else { return Some(FieldError::invalid(path, text, NO_INTERFACE)) };
    not_canonical(text, &format!("{}/{}", range.address, range.bits), path)
}

fn not_canonical(text: &str, canonical: &str, path: &Path) -> Option<FieldError> {
    let detail = format!("must be in canonical form ({})", go_quote(canonical));
    (text != canonical).then(|| FieldError::invalid(path, text, detail))
}

/// What is to be said of an address that is written in an unusual way (upstream `GetWarningsForIP`).
pub(super) fn ip_warning(text: &str, path: &Path) -> Option<String> {
    let address = lenient(text)?;
    let given = go_quote(text);
    let usual = go_quote(&address.to_canonical().to_string());
    if text.parse::<IpAddr>().is_err() || is_mapped(address) {
        return Some(format!("{path}: non-standard IP address {given} is invalid: use {usual}"));
    }
    let unusual = address.is_ipv6() && address.to_string() != text;
    unusual.then(|| format!("{path}: IPv6 address {given} should be in RFC 5952 canonical format ({usual})"))
}

/// The same for a range (upstream `GetWarningsForCIDR`).
pub(super) fn range_warnings(text: &str, path: &Path) -> Vec<String> {
    let Some(range) = lenient_range(text) else { return Vec::new() };
    let (given, usual) = (go_quote(text), go_quote(&range.canonical()));
    let mut warnings = Vec::new();
    if mask(range.address, range.bits) != range.address {
        let bits = if range.is_v4() { 32 } else { 128 };
        let one = go_quote(&format!("{}/{bits}", range.address));
        warnings.push(format!(
            "{path}: CIDR value {given} is ambiguous in this context (should be {usual} or {one}?)"
        ));
    }
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    if address.parse::<IpAddr>().is_err()
        || is_mapped(range.address)
        || (bits.len() > 1 && bits.starts_with('0'))
    {
        warnings.push(format!("{path}: non-standard CIDR value {given} is invalid: use {usual}"));
    }
    if warnings.is_empty() && !range.is_v4() && range.canonical() != text {
        let what = "should be in RFC 5952 canonical format";
        warnings.push(format!("{path}: IPv6 CIDR value {given} {what} ({usual})"));
    }
    warnings
}

/// Why traffic cannot be sent to this address. Upstream refuses those of the loopback, too, where a cluster of one
/// machine may well live.
pub(super) fn endpoint(address: IpAddr, text: &str, path: &Path) -> Errors {
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    [
        (address.is_unspecified(), format!("may not be unspecified ({text})")),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ]
    .into_iter()
    .filter(|(is, _)| *is)
    .map(|(_, detail)| FieldError::invalid(path, text, detail))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence after the value, empty when there is none.
    fn detail(error: Option<FieldError>) -> String {
        let text = error.map(|error| error.body()).unwrap_or_default();
        text.splitn(3, ": ").nth(2).unwrap_or_default().to_owned()
    }

    #[test]
    fn addresses() {
        let path = Path::new("x");
        for (text, wanted) in [
            ("10.0.0.1", ""),
            ("fd00::1", ""),
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("FD00::1", "must be in canonical form (\"fd00::1\")"),
            ("10.0.0", NO_ADDRESS),
            ("10.0.0.300", NO_ADDRESS),
            ("", NO_ADDRESS),
        ] {
            assert_eq!(detail(canonical_ip(text, &path)), wanted, "{text}");
        }
    }

    #[test]
    fn unusual_forms_are_warned_of() {
        let path = Path::new("x");
        for (text, wanted) in [
            ("10.0.0.1", None),
            ("fd00::1", None),
            ("010.0.0.1", Some("x: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\"")),
            (
                "::ffff:1.2.3.4",
                Some("x: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\""),
            ),
            (
                "FD00::1",
                Some("x: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")"),
            ),
        ] {
            assert_eq!(ip_warning(text, &path).as_deref(), wanted);
        }
        for (text, wanted) in [
            ("10.0.0.0/8", vec![]),
            (
                "10.0.0.1/8",
                vec![
                    "x: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
                ],
            ),
            (
                "10.0.0.0/08",
                vec!["x: non-standard CIDR value \"10.0.0.0/08\" is invalid: use \"10.0.0.0/8\""],
            ),
            (
                "FD00::/8",
                vec!["x: IPv6 CIDR value \"FD00::/8\" should be in RFC 5952 canonical format (\"fd00::/8\")"],
            ),
        ] {
            assert_eq!(range_warnings(text, &path), wanted);
        }
    }

    #[test]
    fn ranges() {
        let path = Path::new("x");
        for (text, wanted) in [
            ("10.0.0.0/8", ""),
            ("0.0.0.0/0", ""),
            ("fd00::/8", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0/33", NO_RANGE),
            ("10.0.0.0", NO_RANGE),
            ("FD00::/8", "must be in canonical form (\"fd00::/8\")"),
        ] {
            assert_eq!(detail(canonical_range(text, &path)), wanted, "{text}");
        }
        let parse = |text| range(text, &path).unwrap();
        assert!(parse("10.0.0.0/8").strictly_holds(&parse("10.1.0.0/16")));
        assert!(!parse("10.0.0.0/8").strictly_holds(&parse("10.0.0.0/8")));
        assert!(!parse("10.0.0.0/8").strictly_holds(&parse("11.0.0.0/16")));
        assert!(!parse("0.0.0.0/0").strictly_holds(&parse("fd00::/8")));
        assert_eq!(detail(interface("10.0.0.7/24", &path)), "");
        assert_eq!(detail(interface("10.0.0.7", &path)), NO_INTERFACE);
    }
}
