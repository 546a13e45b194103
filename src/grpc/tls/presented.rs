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
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a connection and its certificate together.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a mail server says before it goes over to TLS.
const MAIL_BYTES_MAX: u64 = 16 << 10;

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    AtOnce,
    /// When a mail server was asked to (RFC 3207).
    StartTls,
}

/// Who may vouch for a server.
#[derive(Debug, Clone, Copy)]
pub enum Authorities<'a> {
    /// These, in PEM.
    Named(&'a [u8]),
    OfThisSystem,
    /// Not known: nobody is asked.
    Unknown,
}

/// A certificate that a server showed.
#[derive(Debug)]
pub struct Presented {
    /// The server's own, in DER.
    pub certificate: Vec<u8>,
    /// Why it is not for the name by which the server was called.
    pub other_name: Option<String>,
    /// Why none of the authorities vouches for it now.
    pub untrusted: Option<String>,
}

/// What a server shows to whoever calls it `host`. `None` where nobody takes the connection.
///
/// # Errors
/// It shows none, or what was given is no name or no PEM; for people.
pub async fn presented(
    host: &str,
    port: u16,
    opening: Opening,
    authorities: Authorities<'_>,
) -> Result<Option<Presented>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let reader = Arc::new(Reader { provider: provider.clone(), shown: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config =
        config.map_err(|error| error.to_string())?.dangerous().with_custom_certificate_verifier(reader.clone());
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let shaking = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        if opening == Opening::StartTls
            && let Err(why) = start_tls(&mut stream).await
        {
            return Some(Some(why));
        }
        // It always fails: the reader takes no certificate for good.
        Some(connector.connect(name.clone(), stream).await.err().map(|error| error.to_string()))
    };
    let Ok(Some(failed)) = tokio::time::timeout(PATIENCE, shaking).await else { return Ok(None) };
    let Some((own, between)) = reader.take() else { return Err(failed.unwrap_or_default()) };
    let parsed = ParsedCertificate::try_from(&own).map_err(|error| error.to_string())?;
    let untrusted = match authorities {
        Authorities::Named(pem) => trust(&parsed, &between, &named(pem)?, &provider),
        Authorities::OfThisSystem => trust(&parsed, &between, &of_this_system(), &provider),
        Authorities::Unknown => None,
    };
    let other_name = verify_server_name(&parsed, &name).err().map(|error| error.to_string());
    Ok(Some(Presented { certificate: own.as_ref().to_vec(), other_name, untrusted }))
}

/// Has a mail server go over to TLS. Nothing that could be anybody's secret is said.
async fn start_tls(stream: &mut TcpStream) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut lines = BufReader::new(stream).take(MAIL_BYTES_MAX);
    for (said, expected) in [("", "220"), ("EHLO [127.0.0.1]\r\n", "250"), ("STARTTLS\r\n", "220")] {
        lines.get_mut().write_all(said.as_bytes()).await.map_err(broken)?;
        let mut line = String::new();
        // `250-` is followed by more lines, `250 ` by none.
        while line.get(3..).is_none_or(|rest| rest.starts_with('-')) {
            line.clear();
            if lines.read_line(&mut line).await.map_err(broken)? == 0 {
                return Err("it is no mail server".to_owned());
            }
        }
        if !line.starts_with(expected) {
            return Err("it does not go over to TLS (STARTTLS)".to_owned());
        }
    }
    Ok(())
}

fn named(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| format!("the authorities are no PEM: {error}"))?;
        roots.add(root).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// As everybody has them whose connections name none. What cannot be read is nobody.
fn of_this_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Why none of them vouches for it.
fn trust(
    own: &ParsedCertificate<'_>,
    between: &[CertificateDer<'_>],
    roots: &RootCertStore,
    provider: &CryptoProvider,
) -> Option<String> {
    let algorithms = provider.signature_verification_algorithms.all;
    let verified = verify_server_cert_signed_by_trust_anchor(own, roots, between, UnixTime::now(), algorithms);
    verified.err().map(|error| error.to_string())
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
