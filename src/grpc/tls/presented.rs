//! What another server shows of itself where a TLS connection begins. It is read and judged, and the connection ends there:
//! nothing is ever sent over it, so that a certificate that is no good can be looked at as well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a connection and its certificate together.
const PATIENCE: Duration = Duration::from_secs(5);

/// A certificate that a server showed.
#[derive(Debug)]
pub struct Presented {
    /// The server's own, in DER.
    pub certificate: Vec<u8>,
    /// Why it is not for the name by which the server was called.
    pub other_name: Option<String>,
    /// Why none of the authorities that were named vouches for it now.
    pub untrusted: Option<String>,
}

/// What a server shows to whoever calls it `host`; `authorities` (PEM) are looked at where they are given. `None` where nobody
/// takes the connection.
///
/// # Errors
/// It shows none, or what was given is no name or no PEM; for people.
pub async fn presented(host: &str, port: u16, authorities: Option<&[u8]>) -> Result<Option<Presented>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let reader = Arc::new(Reader { provider: provider.clone(), shown: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config =
        config.map_err(|error| error.to_string())?.dangerous().with_custom_certificate_verifier(reader.clone());
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let shaking = async {
        let stream = TcpStream::connect((host, port)).await.ok()?;
        // It always fails: the reader takes no certificate for good.
        Some(connector.connect(name.clone(), stream).await.err().map(|error| error.to_string()))
    };
    let Ok(Some(failed)) = tokio::time::timeout(PATIENCE, shaking).await else { return Ok(None) };
    let Some((own, between)) = reader.take() else { return Err(failed.unwrap_or_default()) };
    let parsed = ParsedCertificate::try_from(&own).map_err(|error| error.to_string())?;
    let untrusted = authorities.map(|pem| trust(&parsed, &between, pem, &provider)).transpose()?.flatten();
    let other_name = verify_server_name(&parsed, &name).err().map(|error| error.to_string());
    Ok(Some(Presented { certificate: own.as_ref().to_vec(), other_name, untrusted }))
}

/// Why not.
fn trust(
    own: &ParsedCertificate<'_>,
    between: &[CertificateDer<'_>],
    pem: &[u8],
    provider: &CryptoProvider,
) -> Result<Option<String>, String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| format!("the authorities are no PEM: {error}"))?;
        roots.add(root).map_err(|error| error.to_string())?;
    }
    let algorithms = provider.signature_verification_algorithms.all;
    let verified = verify_server_cert_signed_by_trust_anchor(own, &roots, between, UnixTime::now(), algorithms);
    Ok(verified.err().map(|error| error.to_string()))
}

type Chain = (CertificateDer<'static>, Vec<CertificateDer<'static>>);

/// Reads a certificate, and believes none. INVARIANT: no connection comes about by it.
#[derive(Debug)]
struct Reader {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<Chain>>,
}

impl Reader {
    fn take(&self) -> Option<Chain> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn enough() -> Error {
    Error::General("only its certificate was wanted".to_owned())
}

impl ServerCertVerifier for Reader {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let between = between.iter().map(|one| one.clone().into_owned()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some((own.clone().into_owned(), between));
        Err(enough())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(enough())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(enough())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
