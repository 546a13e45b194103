//! Authorities and certificates of a test's own, good and bad, and the files that a server reads them from.

use std::sync::Arc;

use countersign::domain::Timestamp;
use countersign::grpc::tls::{ClientAuth, Files, Settings};
use countersign::identity::san::CertificateRule;
use countersign::server::Encryption;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use time::OffsetDateTime;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::{Options, today};

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A client's certificate, as a test wants it.
pub struct Leaf<'a> {
    pub names: &'a [&'a str],
    pub from: Timestamp,
    pub until: Timestamp,
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
}

pub const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

impl<'a> Leaf<'a> {
    /// Good for an hour from the time at which servers under test start.
    pub fn of(names: &'a [&'a str]) -> Self {
        let purposes = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self { names, from: today().before(HOUR), until: today().after(HOUR), purposes }
    }
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn server(&self) -> Pair {
        self.sign(&CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap())
    }

    /// For a client with these names, SPIFFE IDs or hosts.
    pub fn client(&self, names: &[&str]) -> Pair {
        self.issue(Leaf::of(names))
    }

    pub fn issue(&self, leaf: Leaf<'_>) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date(leaf.from);
        params.not_after = date(leaf.until);
        params.extended_key_usages = leaf.purposes;
        let name = |name: &&str| match name.contains("://") {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = leaf.names.iter().map(name).collect();
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn date(moment: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.as_seconds()).unwrap()
}

/// What a server under test reads, and whom it should believe.
pub struct Pki {
    pub servers: Ca,
    pub clients: Ca,
    dir: tempfile::TempDir,
}

/// The agent of the rules below that the shipped policies let ask.
pub const BOT: &str = "spiffe://prod.example/agents/report-bot";

impl Pki {
    pub fn new() -> Self {
        let pki = Self { servers: Ca::new("servers"), clients: Ca::new("clients"), dir: tempfile::tempdir().unwrap() };
        pki.give_server(&pki.servers.server());
        pki.trust(&pki.clients);
        pki
    }

    /// Puts another certificate where the server's is.
    pub fn give_server(&self, pair: &Pair) {
        self.write("server.crt", &pair.certificate);
        self.write("server.key", &pair.key);
    }

    /// Puts another authority where that of the clients is.
    pub fn trust(&self, clients: &Ca) {
        self.write("clients.crt", &clients.pem());
    }

    pub fn write(&self, name: &str, text: &str) {
        // As whoever renews certificates does: never half a file.
        let new = self.dir.path().join(format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    pub fn files(&self, client_auth: Option<ClientAuth>) -> Files {
        let file = |name: &str| self.dir.path().join(name);
        Files {
            certificate: file("server.crt"),
            key: file("server.key"),
            client_ca: client_auth.map(|_| file("clients.crt")),
            client_auth,
        }
    }

    pub fn encryption(&self, client_auth: Option<ClientAuth>) -> Encryption {
        let reload_interval = std::time::Duration::from_millis(20);
        let settings = Settings { reload_interval, ..Settings::new(self.files(client_auth)) };
        Encryption::Tls { settings, certificates: if client_auth.is_some() { rules() } else { Vec::new() } }
    }

    pub fn options(&self, client_auth: Option<ClientAuth>) -> Options {
        let trust = Some(self.client(Some(&self.clients.client(&[BOT]))));
        Options { encryption: self.encryption(client_auth), trust, ..Options::default() }
    }

    /// What a client believes and shows.
    pub fn client(&self, pair: Option<&Pair>) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.servers.pem()));
        match pair {
            Some(pair) => config.identity(Identity::from_pem(&pair.certificate, &pair.key)),
            None => config,
        }
    }

    /// The same for a client that shows what TLS says.
    pub fn raw_client(&self, pair: Option<&Pair>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.servers.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
        let mut config = match pair {
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// Agents and workloads of one trust domain, and gateways by host.
fn rules() -> Vec<CertificateRule> {
    let rules = serde_json::json!([
        {
            "san": "spiffe://prod.example/agents/*", "namespace": "prod", "kind": "agent", "entity_type": "Agent",
            "id": "{1}", "groups": ["agents"],
        },
        {
            "san": "dns:*.gateways.example", "namespace": "gateways", "kind": "workload", "entity_type": "Workload",
            "id": "{1}", "groups": ["pipelines"],
        },
    ]);
    serde_json::from_value(rules).unwrap()
}
