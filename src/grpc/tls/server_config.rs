//! From PEM files to what rustls serves with.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig};
use rustls::{SignatureScheme, version::TLS13};
use sha2::{Digest, Sha256};

use super::{ClientAuth, Files, InForce, Now, TlsError};
use crate::identity::certificate::check_purpose;

/// One PEM file; a bundle of a thousand CAs is about 2 MB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the files hold, read once.
pub struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    pub fn read(files: &Files) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()] {
            digest.update(part.map(Sha256::digest).unwrap_or_default());
        }
        digest.finalize().into()
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { file: file.to_owned(), source };
    let mut contents = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    let bytes = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents).map_err(unreadable)?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
        Ok(contents)
    } else {
        Err(TlsError::TooLarge { file: file.to_owned(), most: FILE_BYTES_MAX })
    }
}

/// TLS 1.3 only, HTTP/2 only, a full handshake for every connection.
pub fn make(files: &Files, contents: &Contents, now: &Now) -> Result<InForce, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(now.clone()));
    let bad = |file: &Path, reason: String| TlsError::Bad { file: file.to_owned(), reason };
    let builder =
        builder.with_protocol_versions(&[&TLS13]).map_err(|error| bad(&files.certificate, error.to_string()))?;
    let clients = match (&files.client_ca, &contents.client_ca) {
        (Some(file), Some(bundle)) => {
            let auth = files.client_auth.unwrap_or(ClientAuth::Required);
            Some(client_verifier(file, bundle, auth, provider)?)
        }
        (Some(_), None) | (None, _) => None,
    };
    let builder = match clients.clone() {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(&files.certificate, &contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|_| TlsError::Missing { file: files.key.clone(), what: "private key" })?;
    let mut config = builder.with_single_cert(chain, key).map_err(|reason| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        reason,
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // INVARIANT: every connection shows its certificate to the CAs of its day; nothing is resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(InForce { config: Arc::new(config), clients })
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| TlsError::Bad { file: file.to_owned(), reason: error.to_string() })?;
    if all.is_empty() {
        return Err(TlsError::Missing { file: file.to_owned(), what: "certificate" });
    }
    Ok(all)
}

fn client_verifier(
    file: &Path,
    bundle: &[u8],
    auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let bad = |reason: String| TlsError::Bad { file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, bundle)? {
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    let chain = builder.build().map_err(|error| bad(error.to_string()))?;
    Ok(Arc::new(ForClients { chain }))
}

/// webpki's verification, which lets a certificate without any stated purpose pass; a client's must state its own.
#[derive(Debug)]
struct ForClients {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for ForClients {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        check_purpose(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::InvalidPurpose))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        // Before 1970 nothing is valid.
        let seconds = u64::try_from((self.0)().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
