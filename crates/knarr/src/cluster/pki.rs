//! The cluster's certificate authority and the certificates it signs.
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 86_400);
/// Certificates are valid from a little in the past, for clocks that are not quite right.
const BACKDATE: Duration = Duration::from_secs(300);

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
}

/// The cluster's authority.
pub(crate) struct Pki {
    dir: PathBuf,
    pub ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Loads the authority from `dir`, making it at the first start.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let (cert_file, key_file) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !cert_file.exists() && !key_file.exists() {
            let (cert, key) = new_authority()?;
            write_secret(&key_file, &key)?;
            write_secret(&cert_file, &cert)?;
        }
        let ca_pem = read(&cert_file)?;
        let key = KeyPair::from_pem(&read(&key_file)?)
            .with_context(|| format!("{} is not a private key", key_file.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)
            .with_context(|| format!("{} is not a certificate", cert_file.display()))?;
        Ok(Self { dir: dir.to_owned(), ca_pem, issuer })
    }

    /// Private key that signs service-account tokens, made once: tokens outlive a restart.
    pub(crate) fn token_key(&self) -> anyhow::Result<String> {
        let file = self.dir.join("sa.key");
        if !file.exists() {
            write_secret(&file, &KeyPair::generate()?.serialize_pem())?;
        }
        read(&file)
    }

    /// A certificate for a server under these names and addresses. Made anew at each start: addresses change.
    pub(crate) fn server(
        &self,
        common_name: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) -> anyhow::Result<Identity> {
        let mut params = leaf(common_name, None, ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|a| SanType::IpAddress(*a)));
        self.sign(params)
    }

    /// A certificate for a client: user `name` in `group`.
    pub(crate) fn client(&self, name: &str, group: Option<&str>) -> anyhow::Result<Identity> {
        self.sign(leaf(name, group, ExtendedKeyUsagePurpose::ClientAuth))
    }

    fn sign(&self, params: CertificateParams) -> anyhow::Result<Identity> {
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// TLS for a server of this cluster: a client may show a certificate of the authority, and must when `require_client`.
    pub(crate) fn server_tls(
        &self,
        identity: &Identity,
        require_client: bool,
    ) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            roots.add(cert.map_err(|e| anyhow!("the authority's certificate is damaged: {e}"))?)?;
        }
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier =
            if require_client { verifier.build()? } else { verifier.allow_unauthenticated().build()? };
        let chain =
            CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn new_authority() -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name("knarr-ca", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    valid_for(&mut params, CA_VALIDITY);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn leaf(common_name: &str, group: Option<&str>, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(common_name, group);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, LEAF_VALIDITY);
    params
}

fn distinguished_name(common_name: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn valid_for(params: &mut CertificateParams, validity: Duration) {
    let now = std::time::SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + validity).into();
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(file: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("failed to write {}", file.display());
    let temporary = file.with_extension("new");
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(context)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(context)?;
    fs::rename(&temporary, file).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_and_token_key_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path()).unwrap();
        let key = first.token_key().unwrap();
        let again = Pki::open(dir.path()).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        assert_eq!(key, again.token_key().unwrap());
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Pki::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
        let error = Pki::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains("ca.key is not a private key"), "{error:#}");
    }

    #[test]
    fn client_certificates_carry_user_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Pki::open(dir.path()).unwrap().client("admin", Some("system:masters")).unwrap();
        let der = CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(cert.subject().iter_common_name().next().unwrap().as_str().unwrap(), "admin");
        assert_eq!(cert.subject().iter_organization().next().unwrap().as_str().unwrap(), "system:masters");
    }
}
