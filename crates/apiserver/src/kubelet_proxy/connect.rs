//! Connections to kubelets, pods and nodes.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use machinery::status::Status;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::{Security, Target};
use crate::flow::Chain;
use crate::server::certificates;
use crate::{ApiBody, KubeletTls, TlsError};

/// Connecting and the TLS handshake must be done by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to talk to the other end by TLS.
pub struct Kubelets {
    kubelet: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

impl Kubelets {
    /// Reads the credentials.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(credentials: &KubeletTls) -> Result<Kubelets, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the kubelet CA", &credentials.ca_pem)? {
            roots.add(certificate)?;
        }
        let chain = certificates("the kubelet client certificate", &credentials.cert_pem)?;
        let key = || {
            PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes())
                .map_err(|source| TlsError::Pem { what: "the kubelet client key", source })
        };
        let kubelet = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)?;
        let verifier = Arc::new(Unverified(provider.signature_verification_algorithms));
        let unverified = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Kubelets { kubelet: Arc::new(kubelet), unverified: Arc::new(unverified) })
    }
}

/// Accepts any certificate: what pods and Services serve is signed by nobody the API server could know. The same as
/// upstream; the user's data still passes encrypted.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Opens a connection for one exchange. It is driven by a task that ends with the exchange or the server.
///
/// # Errors
/// 500 in the words of upstream's dialler.
pub(super) async fn connect(chain: &Chain, target: &Target) -> Result<SendRequest<ApiBody>, Status> {
    let kubelets = chain.kubelets.as_ref();
    let config = match target.security {
        Security::Plain => None,
        Security::Kubelet => Some(kubelets.map(|kubelets| kubelets.kubelet.clone())),
        Security::Unverified => Some(kubelets.map(|kubelets| kubelets.unverified.clone())),
    };
    let config = match config {
        Some(None) => return Err(Status::service_unavailable("this server has no credentials for kubelets")),
        Some(config) => config,
        None => None,
    };
    let connecting = async {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        stream.set_nodelay(true)?;
        match config {
            None => handshake(chain, stream).await,
            Some(config) => {
                let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
                handshake(chain, TlsConnector::from(config).connect(name, stream).await?).await
            }
        }
    };
    let failed = |why: String| {
        Status::internal(format!("error dialing backend: dial tcp {}:{}: {why}", target.host, target.port))
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(sender)) => Ok(sender),
        Ok(Err(error)) => Err(failed(describe(&error))),
        Err(_) => Err(failed("i/o timeout".to_owned())),
    }
}

/// Go's words for what happens most.
fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

async fn handshake<S>(chain: &Chain, stream: S) -> std::io::Result<SendRequest<ApiBody>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    let token = chain.token.clone();
    chain.tasks.spawn(async move {
        tokio::select! {
            ended = connection.with_upgrades() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a proxied connection ended early");
                }
            }
            () = token.cancelled() => {}
        }
    });
    Ok(sender)
}
