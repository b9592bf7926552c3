//! Names of images (upstream `distribution/reference`), as far as defaults need them.

const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
const IDENTIFIER: usize = 64;
const DIGEST_MIN: usize = 32;

/// Whether the name says `latest`, or neither a tag nor a digest. What is no name says neither.
pub(super) fn is_latest(image: &str) -> bool {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let end = rest.rfind('/').unwrap_or_default();
    let (name, tag) = match rest[end..].split_once(':') {
        Some((last, tag)) => (&rest[..end + last.len()], Some(tag)),
        None => (rest, None),
    };
    let known = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    known && (tag == Some("latest") || (tag.is_none() && digest.is_none()))
}

fn is_name(name: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if name.len() > NAME_MAX || (name.len() == IDENTIFIER && name.bytes().all(hex)) {
        return false;
    }
    let path = match name.split_once('/') {
        Some((host, path)) if is_domain_like(host) => {
            if !is_domain(host) {
                return false;
            }
            path
        }
        _ => name,
    };
    path.split('/').all(is_component)
}

/// Whether what stands before the first slash is meant as a host.
fn is_domain_like(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        let hex = |b: u8| b.is_ascii_hexdigit() || b == b':';
        let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return !address.is_empty() && address.bytes().all(hex) && port;
    }
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        outer(bytes.first())
            && outer(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

/// Small letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(part: &str) -> bool {
    let plain = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = part.as_bytes();
    let mut separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let separates = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    plain(bytes.first()) && plain(bytes.last()) && separators.all(separates)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let bytes = tag.as_bytes();
    bytes.first().is_some_and(word)
        && bytes.len() <= TAG_MAX
        && bytes.iter().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        let known = !algorithm.is_empty() && algorithm.bytes().all(|b| b.is_ascii_alphanumeric());
        known && hex.len() >= DIGEST_MIN && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        let digest = format!("@sha256:{}", "0".repeat(64));
        for (image, latest) in [
            ("i", true),
            ("i:latest", true),
            ("host:5000/i", true),
            ("localhost/i", true),
            ("[::1]:5000/i", true),
            ("a/b__c--d.e", true),
            ("i:v1", false),
            ("host:5000/a/i:1", false),
            (&format!("r/x{digest}"), false),
            (&format!("r/x:latest{digest}"), true),
            ("r/x@sha256:00", false),
            ("", false),
            ("Bad_Value!", false),
            ("Host/i", true),
            ("host/I", false),
            ("a..b", false),
            ("i:", false),
            (&"a".repeat(64), false),
            (&"x".repeat(300), false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
