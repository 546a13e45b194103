//! E-mail to a mail server on a real socket, over TLS from the first byte and by STARTTLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::{Outbox, asked};
use crate::support::pki::Ca;

/// What a session said, and the letter of it.
#[derive(Debug)]
pub struct Session {
    commands: Vec<String>,
    pub letter: String,
}

pub struct MailServer {
    pub port: u16,
    pub sessions: mpsc::UnboundedReceiver<Session>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Tls,
    StartTls,
    /// It offers no encryption.
    Clear,
}

impl MailServer {
    /// Answers the letters by these codes, one each, and then by 250.
    pub async fn start(ca: &Ca, way: Way, codes: &'static [&'static str]) -> Self {
        let pair = ca.server();
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, sessions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut codes = codes.iter();
            while let Ok((stream, _)) = listener.accept().await {
                let code = codes.next().unwrap_or(&"250 taken");
                // A client that breaks off is a session without a letter.
                if let Some(session) = serve(stream, &acceptor, way, code).await {
                    tell.send(session).unwrap();
                }
            }
        });
        Self { port, sessions }
    }
}

async fn serve(stream: TcpStream, acceptor: &TlsAcceptor, way: Way, code: &str) -> Option<Session> {
    match way {
        Way::Tls => speak(acceptor.accept(stream).await.ok()?, code, true).await,
        Way::Clear => speak(stream, code, true).await,
        Way::StartTls => {
            let mut lines = BufReader::new(stream);
            lines.write_all(b"220 mail\r\n").await.ok()?;
            for answer in ["250-mail\r\n250 STARTTLS\r\n", "220 go on\r\n"] {
                let mut line = String::new();
                lines.read_line(&mut line).await.ok()?;
                lines.write_all(answer.as_bytes()).await.ok()?;
            }
            speak(acceptor.accept(lines.into_inner()).await.ok()?, code, false).await
        }
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, code: &str, greets: bool) -> Option<Session> {
    let mut lines = BufReader::new(stream);
    if greets {
        lines.write_all(b"220 mail\r\n").await.ok()?;
    }
    let mut session = Session { commands: Vec::new(), letter: String::new() };
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer = match line.split([' ', '\r']).next().unwrap() {
            "EHLO" => "250-mail\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => {
                lines.write_all(b"221 bye\r\n").await.ok()?;
                lines.shutdown().await.ok()?;
                return None;
            }
            _ => "250 well",
        };
        session.commands.push(line.trim_end().to_owned());
        lines.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        if answer.starts_with("354") {
            while !session.letter.ends_with("\r\n.\r\n") {
                lines.read_line(&mut session.letter).await.ok()?;
            }
            lines.write_all(format!("{code}\r\n").as_bytes()).await.ok()?;
            return Some(session);
        }
    }
}

fn target(outbox: &Outbox, ca: &Ca, url: &str) -> Value {
    json!({"name": "leads", "kind": "email", "url": url, "from": "low", "allow": ["127.0.0.0/8", "::1/128"],
        "secret_file": outbox.secret("mail.secret", "countersign\nhunter2\n"), "ca_file": outbox.secret("ca.pem", &ca.pem()),
        "sender": "Countersign <countersign@company.example>", "to": ["leads@company.example", "dpo@company.example"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_arrives_over_tls_either_way_with_a_link_and_no_parameters() {
    for (way, scheme) in [(Way::Tls, "smtps"), (Way::StartTls, "smtp")] {
        let (ca, outbox) = (Ca::new("mail"), Outbox::new());
        let mut mail = MailServer::start(&ca, way, &[]).await;
        let server = outbox.serve(&[target(&outbox, &ca, &format!("{scheme}://127.0.0.1:{}", mail.port))]).await;
        let approval = asked(&server).await;
        let Session { commands, letter } = mail.sessions.recv().await.unwrap();
        let receivers: Vec<_> = commands.iter().filter(|line| line.starts_with("RCPT TO:")).collect();
        assert_eq!(receivers.len(), 2, "{commands:?}");
        assert!(commands.iter().any(|line| line.starts_with("AUTH PLAIN")), "{commands:?}");
        assert!(letter.contains("Message-ID: <evt_") && letter.contains("Content-Type: text/plain"), "{letter}");
        let plain = letter.replace("=\r\n", "");
        assert!(plain.contains(&format!("https://inbox.example/approvals/{}", approval.id)), "{letter}");
        assert!(!plain.contains("s3://partner") && !plain.contains("quarterly"), "{letter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_a_mail_server_that_is_busy_is_asked_again_under_the_same_id() {
    let (ca, outbox) = (Ca::new("mail"), Outbox::new());
    let mut mail = MailServer::start(&ca, Way::Tls, &["451 later"]).await;
    let server = outbox.serve(&[target(&outbox, &ca, &format!("smtps://127.0.0.1:{}", mail.port))]).await;
    asked(&server).await;
    let id = |session: Session| session.letter.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned();
    let (first, second) = (id(mail.sessions.recv().await.unwrap()), id(mail.sessions.recv().await.unwrap()));
    assert_eq!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_not_the_one_meant_or_does_not_encrypt_is_told_nothing() {
    let (ca, other) = (Ca::new("mail"), Ca::new("another"));
    for (way, scheme) in [(Way::Tls, "smtps"), (Way::Clear, "smtp")] {
        let mut outbox = Outbox::new();
        outbox.retry.attempts_max = 2;
        let mut mail = MailServer::start(&ca, way, &[]).await;
        let believed = if way == Way::Tls { &other } else { &ca };
        let server = outbox.serve(&[target(&outbox, believed, &format!("{scheme}://127.0.0.1:{}", mail.port))]).await;
        asked(&server).await;
        outbox.given_up("leads", 1).await;
        assert!(mail.sessions.try_recv().is_err(), "a letter was sent");
    }
}
