//! Where etcd is and how it is talked to.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::login::EtcdUser;
use super::value::Completion;

/// etcd's port for clients.
const PORT: u16 = 2379;
const SCHEME: &str = "etcd://";

/// Which etcd to use. The endpoints are members of one cluster.
#[derive(Clone)]
pub struct EtcdOptions {
    /// The members to talk to.
    pub endpoints: Vec<Endpoint>,
    /// Absent: no TLS.
    pub tls: Option<EtcdTls>,
    /// Absent: etcd asks for no user, or knows this one by its certificate.
    pub user: Option<EtcdUser>,
    /// Applied to what upstream's API servers have written. Absent: objects are taken as they are.
    pub completion: Option<Arc<dyn Completion>>,
    /// How often old revisions are compacted: what is older than this is forgotten within the same time again. Absent: somebody
    /// else compacts. Default 5 minutes.
    pub compact_every: Option<Duration>,
}

/// One member's address for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name or an address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Certificates, PEM.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// The CA that has signed the members' certificates.
    pub ca_pem: String,
    /// The certificate this client shows, and its key.
    pub identity: Option<(String, String)>,
}

/// Why the options make no sense.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum EtcdOptionsError {
    /// The URL is not one of etcd.
    #[error("{url:?} is not an etcd datastore: etcd://HOST[:PORT][,HOST[:PORT]...] is expected")]
    Url {
        /// What was given.
        url: String,
    },
    /// A certificate or key cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl EtcdOptions {
    /// Options for `etcd://host:port,host:port`, without TLS.
    ///
    /// # Errors
    /// [`EtcdOptionsError::Url`].
    pub fn from_url(url: &str) -> Result<EtcdOptions, EtcdOptionsError> {
        let wrong = || EtcdOptionsError::Url { url: url.to_owned() };
        let list = url.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let endpoints =
            list.strip_suffix('/').unwrap_or(list).split(',').map(endpoint).collect::<Option<_>>();
        Ok(EtcdOptions {
            endpoints: endpoints.ok_or_else(wrong)?,
            tls: None,
            user: None,
            completion: None,
            compact_every: Some(Duration::from_secs(300)),
        })
    }
}

fn endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let valid = host.contains(':') || (!host.is_empty() && host.bytes().all(name));
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    valid.then(|| Endpoint { host: host.to_owned(), port })
}

impl EtcdTls {
    /// The client's side of TLS.
    pub(super) fn client_config(&self) -> Result<Arc<rustls::ClientConfig>, EtcdOptionsError> {
        let pem = |what: &'static str| move |reason: String| EtcdOptionsError::Pem { what, reason };
        let mut roots = rustls::RootCertStore::empty();
        let add = |reason: &dyn std::fmt::Display| pem("the CA file of the datastore")(reason.to_string());
        for certificate in certificates(&self.ca_pem).map_err(|error| add(&error))? {
            roots.add(certificate).map_err(|error| add(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| add(&error))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain =
                    certificates(certificate).map_err(pem("the certificate file of the datastore"))?;
                let wrong =
                    |error: &dyn std::fmt::Display| pem("the key file of the datastore")(error.to_string());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong(&error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it has no certificate".to_owned()),
        certificates => certificates.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_endpoints() {
        for (url, want) in [
            ("etcd://a", "a:2379"),
            ("etcd://10.0.0.1:1234/", "10.0.0.1:1234"),
            ("etcd://a:1,b.example.com:2,[::1]:3,[fe80::1]", "a:1 b.example.com:2 [::1]:3 [fe80::1]:2379"),
        ] {
            let options = EtcdOptions::from_url(url).unwrap();
            let shown: Vec<_> = options.endpoints.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), want, "{url}");
        }
        for url in [
            "",
            "a:1",
            "http://a:1",
            "etcd://",
            "etcd://a,",
            "etcd://a:0",
            "etcd://a:x",
            "etcd://a/b",
            "etcd://[::1",
            "etcd://u@a",
            "etcd://::1",
        ] {
            assert_eq!(EtcdOptions::from_url(url).err(), Some(EtcdOptionsError::Url { url: url.into() }));
        }
    }

    #[test]
    fn certificates_that_are_none_are_refused() {
        let tls = EtcdTls { ca_pem: "nonsense".into(), identity: None };
        let error = tls.client_config().unwrap_err().to_string();
        assert_eq!(error, "the CA file of the datastore cannot be used: it has no certificate");
    }
}
