//! Hashes that become part of names and labels.

/// The letters of generated names: no vowels, so no bad words (apimachinery `rand.SafeEncodeString`).
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// 32-bit FNV-1a.
pub fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Maps each byte of the text to the alphabet of generated names.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

/// The `pod-template-hash` of a pod template, with the Deployment's `collisionCount` mixed in.
///
/// Upstream hashes Go's printed form of the struct, which cannot be reproduced from JSON and is not promised to stay:
/// the value is opaque to clients. Here the canonical JSON (sorted keys) is hashed.
pub fn pod_template_hash(template: &serde_json::Value, collision_count: Option<i32>) -> String {
    let mut bytes = template.to_string().into_bytes();
    if let Some(count) = collision_count {
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    safe_encode(&fnv32a(&bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_hashes() {
        assert_eq!(fnv32a(b""), 0x811c_9dc5);
        assert_eq!(fnv32a(b"a"), 0xe40c_292c);
        assert_eq!(fnv32a(b"foobar"), 0xbf9c_f968);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }

    #[test]
    fn template_hash_depends_on_content_and_collisions() {
        let a = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
        let b = json!({"spec": {"containers": [{"image": "j", "name": "c"}]}});
        assert_eq!(pod_template_hash(&a, None), pod_template_hash(&a.clone(), None));
        assert_ne!(pod_template_hash(&a, None), pod_template_hash(&b, None));
        assert_ne!(pod_template_hash(&a, None), pod_template_hash(&a, Some(1)));
        assert!(pod_template_hash(&a, None).bytes().all(|b| ALPHABET.contains(&b)));
    }
}
