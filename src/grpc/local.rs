//! The way of a health check to the server beside it, on the same machine.
//!
//! Over TLS it believes whatever certificate it is shown: those of a server name the host that clients know, never a loopback
//! address, and they are replaced while it runs. Nothing secret is sent, nothing that comes back is trusted with more than
//! "is it well", and only loopback addresses are gone to. For the same reason kubelets do not verify what they probe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{ClientAuth, Files};

/// Where a server that listens at `listen` is reached from its own machine; `None` where that is no loopback address.
#[must_use]
pub fn beside(listen: SocketAddr) -> Option<SocketAddr> {
    let host = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    host.to_canonical().is_loopback().then(|| SocketAddr::new(host, listen.port()))
}

/// Makes the connection to the server at a loopback address that has these files.
pub(super) async fn encrypted(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Where clients must show a certificate, the server's own is shown.
pub(super) fn config(files: &Files) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let must_show = files.client_ca.is_some() && files.client_auth != Some(ClientAuth::Optional);
    let mut config = if must_show {
        let unreadable =
            |error: rustls::pki_types::pem::Error| format!("cannot read the server's certificate: {error}");
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect);
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable)?;
        builder.with_client_auth_cert(chain.map_err(unreadable)?, key).map_err(|error| error.to_string())?
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// See the head of this file.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_gone_to() {
        let check = |listen: &str, expected: Option<&str>| {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(beside(listen.parse().unwrap()), expected, "{listen}");
        };
        check("0.0.0.0:1", Some("127.0.0.1:1"));
        check("[::]:1", Some("[::1]:1"));
        check("127.0.0.2:1", Some("127.0.0.2:1"));
        check("[::1]:1", Some("[::1]:1"));
        check("10.0.0.1:1", None);
        check("[2001:db8::1]:1", None);
    }
}
