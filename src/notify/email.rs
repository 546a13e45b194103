//! E-mail: that people are needed, with a link and nothing to decide by. Over TLS always, from the first byte (`smtps`) or before
//! anything is said (`smtp`, STARTTLS required). Cannot be changed later, so that it tells what Teams is told.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::channel::Failure;
use super::message::Message;
use super::parameters::GATES_SHOWN_MAX;
use super::settings::Target;
use super::{dial, secret, text};

/// For all of it: connecting, speaking, sending.
const TIMEOUT: Duration = Duration::from_secs(10);
const RECEIVERS_MAX: usize = 50;
const SUBJECT_CHARS_MAX: usize = 150;
const LINE_CHARS_MAX: usize = 900;

/// Who writes to whom.
#[derive(Debug, Clone)]
pub struct Letter {
    sender: Mailbox,
    to: Vec<Mailbox>,
    ca_file: Option<PathBuf>,
}

impl Letter {
    pub fn read(sender: Option<&str>, to: &[String], ca_file: Option<PathBuf>) -> Result<Self, String> {
        let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|_| format!("`{text}` is no address for e-mail"));
        if to.is_empty() || to.len() > RECEIVERS_MAX {
            return Err(format!("needs `to`, 1 to {RECEIVERS_MAX} addresses"));
        }
        let sender = mailbox(sender.ok_or("needs `sender`, such as `Countersign <countersign@company.example>`")?)?;
        Ok(Self { sender, to: to.iter().map(|text| mailbox(text)).collect::<Result<_, _>>()?, ca_file })
    }
}

/// The mail server as it is written.
pub fn server(text: &str) -> Result<reqwest::Url, String> {
    let expected =
        || "expected `smtps://host` (TLS) or `smtp://host` (STARTTLS), with a port if it is another".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| expected())?;
    let is_server = matches!(url.scheme(), "smtps" | "smtp") && url.has_host() && matches!(url.path(), "" | "/");
    if is_server && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(expected()) }
}

/// The usual port. Source: RFC 8314 (submission).
pub fn port(url: &reqwest::Url) -> Option<u16> {
    match url.scheme() {
        "smtps" => Some(465),
        "smtp" => Some(587),
        _ => None,
    }
}

pub async fn deliver(target: &Target, message: &Message) -> Result<(), Failure> {
    let mail = mail(target, message).map_err(Failure::Refused)?;
    let sent = tokio::time::timeout(TIMEOUT, send(target, mail)).await;
    sent.unwrap_or_else(|_| Err(Failure::later(format!("no answer within {} s", TIMEOUT.as_secs()))))
}

/// Logs in, and says nothing more.
pub async fn reach(target: &Target) -> Result<(), Failure> {
    let asked = tokio::time::timeout(TIMEOUT, async {
        transport(target).await?.test_connection().await.map_err(|error| failure(&error))
    });
    match asked.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Failure::later("the mail server takes no mail".to_owned())),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::later(format!("no answer within {} s", TIMEOUT.as_secs()))),
    }
}

async fn send(target: &Target, mail: Mail) -> Result<(), Failure> {
    transport(target).await?.send(mail).await.map(|_| ()).map_err(|error| failure(&error))
}

async fn transport(target: &Target) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
    let url = target.url().await.map_err(Failure::later)?;
    // Connected to what was judged; the certificate is for the name.
    let addresses = dial::admitted(&url, &target.allow).await?;
    let address = addresses.first().ok_or_else(|| Failure::later("the host has no address".to_owned()))?;
    let tls = tls(target, url.host_str().unwrap_or_default()).await.map_err(Failure::later)?;
    let tls = if url.scheme() == "smtps" { Tls::Wrapper(tls) } else { Tls::Required(tls) };
    let secret = secret::read(&target.secret_file).await.map_err(Failure::later)?;
    let (user, password) = secret.trim_end().split_once('\n').ok_or_else(|| {
        Failure::later("`secret_file` has the user in its first line and the password in its second".to_owned())
    })?;
    Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(tls)
        .credentials(Credentials::new(user.trim().to_owned(), password.trim().to_owned()))
        .timeout(Some(TIMEOUT))
        .build())
}

async fn tls(target: &Target, host: &str) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = target.letter.as_ref().and_then(|letter| letter.ca_file.as_ref()) {
        let pem = tokio::fs::read(file).await.map_err(|error| format!("`ca_file`: {error}"))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| format!("`ca_file`: {error}"))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| error.to_string())
}

/// What the server refused for good is this message's fault; a login that it refuses is the operator's to put right.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let status = error.status().map(u16::from);
    let told =
        status.map_or_else(|| text::plain(&error.to_string(), 200), |code| format!("the mail server answered {code}"));
    match status {
        Some(550..=559) => Failure::Refused(told),
        Some(_) | None => Failure::later(told),
    }
}

fn mail(target: &Target, message: &Message) -> Result<Mail, String> {
    let letter = target.letter.as_ref().ok_or("no receivers")?;
    let approval = &message.approval;
    let subject = format!("[{}] {}: {}", message.severity().name(), message.sentence(), message.state());
    let host = letter.sender.email.domain();
    let mut builder = Mail::builder()
        .from(letter.sender.clone())
        .subject(text::plain(&subject, SUBJECT_CHARS_MAX))
        // The same for the same event, so that a repetition is known; all of one approval stand together.
        .message_id(Some(format!("<{}@{host}>", message.id)))
        .references(format!("<{}@{host}>", approval.id()))
        .header(ContentType::TEXT_PLAIN);
    for receiver in &letter.to {
        builder = builder.to(receiver.clone());
    }
    builder.body(body(message)).map_err(|error| error.to_string())
}

fn body(message: &Message) -> String {
    let opening = &message.approval.opening;
    let line = |text: &str| text::plain(text, LINE_CHARS_MAX);
    let mut lines = vec![line(&message.sentence()), format!("{}, {}", message.severity().name(), message.state())];
    lines.extend(opening.requirement.gates().iter().take(GATES_SHOWN_MAX).map(|gate| line(&gate.text)));
    lines.push(line(&message.chain()));
    lines.extend(message.nudge().map(|nudge| line(&nudge)));
    if message.event.waits_for_people() {
        let until = text::moment(opening.deadline);
        lines.push(line(&format!("until {until}, then it is denied; {}", message.quorum().join(", "))));
    }
    lines.extend(message.link.iter().map(|link| format!("\nOpen in the inbox, after signing in there: {link}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::TargetSettings;
    use crate::notify::testing::message;

    fn target(more: serde_json::Value) -> Result<Target, String> {
        let mut written = serde_json::json!({"name": "leads", "kind": "email", "url": "smtps://mail.example",
            "secret_file": "s", "sender": "Countersign <c@company.example>", "to": ["leads@company.example"]});
        for (key, value) in more.as_object().unwrap() {
            written[key] = value.clone();
        }
        let written: TargetSettings = serde_json::from_value(written).unwrap();
        Target::read_all(&[written]).map(|mut all| all.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_letter_says_who_is_needed_and_no_parameter_and_no_text_of_others_becomes_a_header() {
        let message = message("x\r\nBcc: evil@example.com", "why\r\n.\r\nMAIL FROM:<evil@example.com>");
        let mail = mail(&target(serde_json::json!({})).unwrap(), &message).unwrap();
        assert_eq!(mail.envelope().to().len(), 1);
        let text = String::from_utf8(mail.formatted()).unwrap();
        assert!(!text.contains("\nBcc:") && !text.contains("\n.\r\n") && !text.contains("s3cret"), "{text}");
        assert!(
            text.contains("Message-ID: <evt_1@company.example>") && text.contains("https://inbox.example/"),
            "{text}"
        );
    }

    #[test]
    fn a_server_speaks_tls_and_addresses_are_addresses() {
        for (more, said) in [
            (serde_json::json!({"url": "http://mail.example"}), "expected `smtps://host`"),
            (serde_json::json!({"url": "smtps://u:p@mail.example"}), "expected `smtps://host`"),
            (serde_json::json!({"url": null}), "needs `url`"),
            (serde_json::json!({"to": []}), "needs `to`"),
            (serde_json::json!({"to": ["nobody"]}), "is no address"),
            (serde_json::json!({"sender": null}), "needs `sender`"),
        ] {
            let refused = target(more.clone()).err().unwrap_or_default();
            assert!(refused.contains(said), "{more}: {refused}");
        }
        assert!(target(serde_json::json!({"url": "smtp://mail.example:2525"})).is_ok());
    }
}
