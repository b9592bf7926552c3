//! Whether the key of a Secret for TLS is that of its certificate, in the words of Go's `tls.X509KeyPair`.

use auth::PemBlock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureAlgorithm;
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;

use super::super::value::text;

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Kinds of public keys, and how DER names them.
const KEYS: [(SignatureAlgorithm, &[u8]); 3] = [
    (SignatureAlgorithm::RSA, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]),
    (SignatureAlgorithm::ECDSA, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]),
    (SignatureAlgorithm::ED25519, &[0x2b, 0x65, 0x70]),
];

/// Which of them it is stands at the beginning of a public key.
const MAX_OFFSET: usize = 16;

/// The warning about a Secret, when there is one.
pub(super) fn warnings(secret: &Value) -> Vec<String> {
    if text(secret, "type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let blocks =
        |key: &str| auth::pem_blocks(&STANDARD.decode(text(&secret["data"], key)).unwrap_or_default());
    check(&blocks("tls.crt"), &blocks("tls.key")).err().into_iter().collect()
}

fn check(certificate: &[PemBlock], key: &[PemBlock]) -> Result<(), String> {
    let certificate =
        find(certificate, |label| label == CERTIFICATE).ok_or_else(|| no_certificate(certificate))?;
    let key = find(key, |label| label.ends_with(PRIVATE_KEY)).ok_or_else(|| no_key(key))?;
    let certificate = auth::certificate(certificate).ok_or("x509: malformed certificate")?;
    let unreadable = "tls: failed to parse private key";
    let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|_| unreadable)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| unreadable)?;
    let named = KEYS.iter().find(|(algorithm, _)| *algorithm == key.algorithm()).map(|(_, name)| *name);
    let public = &certificate.public_key;
    let same_kind = |name: &[u8]| public.windows(name.len()).take(MAX_OFFSET).any(|part| part == name);
    if named.is_some_and(|name| !same_kind(name)) {
        return Err("tls: private key type does not match public key type".to_owned());
    }
    match key.public_key() {
        Some(own) if own.as_ref() != public.as_slice() => {
            Err("tls: private key does not match public key".to_owned())
        }
        _ => Ok(()),
    }
}

fn find(blocks: &[PemBlock], is: impl Fn(&str) -> bool) -> Option<&[u8]> {
    blocks.iter().find(|block| is(&block.label)).map(|block| block.der.as_slice())
}

fn no_certificate(blocks: &[PemBlock]) -> String {
    match blocks {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if one.label.ends_with(PRIVATE_KEY) => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
                .to_owned()
        }
        _ => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: {}",
            labels(blocks)
        ),
    }
}

fn no_key(blocks: &[PemBlock]) -> String {
    match blocks {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one.label == CERTIFICATE => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        _ => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: {}",
            labels(blocks)
        ),
    }
}

fn labels(blocks: &[PemBlock]) -> String {
    let labels: Vec<&str> = blocks.iter().map(|block| block.label.as_str()).collect();
    format!("[{}]", labels.join(" "))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use serde_json::json;

    use super::*;

    fn said(certificate: &str, key: &str) -> Vec<String> {
        let data = json!({"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)});
        warnings(&json!({"type": "kubernetes.io/tls", "data": data}))
    }

    #[test]
    fn pairs_have_to_match() {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let (own, other) = (key(), key());
        let unlike = KeyPair::generate_for(&PKCS_ED25519).expect("a key").serialize_pem();
        let certificate = CertificateParams::default().self_signed(&own).expect("a certificate").pem();
        let (own, other) = (own.serialize_pem(), other.serialize_pem());
        let odd = "-----BEGIN ODD-----\nAAAA\n-----END ODD-----\n";
        for (certificate, key, wanted) in [
            (certificate.as_str(), own.as_str(), ""),
            (&certificate, &other, "tls: private key does not match public key"),
            (&certificate, &unlike, "tls: private key type does not match public key type"),
            ("x", &own, "tls: failed to find any PEM data in certificate input"),
            (&certificate, "x", "tls: failed to find any PEM data in key input"),
            (
                &own,
                &certificate,
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
            ),
            (
                &certificate,
                &certificate,
                "tls: found a certificate rather than a key in the PEM for the private key",
            ),
            (
                odd,
                &own,
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [ODD]",
            ),
            (&odd.replace("ODD", CERTIFICATE), &own, "x509: malformed certificate"),
            (&certificate, &odd.replace("ODD", PRIVATE_KEY), "tls: failed to parse private key"),
        ] {
            assert_eq!(said(certificate, key).join(""), wanted);
        }
        assert_eq!(warnings(&json!({"type": "Opaque", "data": {}})), Vec::<String>::new());
    }
}
