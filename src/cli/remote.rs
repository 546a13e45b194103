//! The server to talk to, and as whom.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::grpc::client::{BearerToken, Client, Tls};

const DEFAULT: &str = "http://127.0.0.1:7443";

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct Remote {
    /// The server's address, or `unix:///run/countersign/grpc.sock` [default: http://127.0.0.1:7443]
    #[arg(long, global = true, env = "COUNTERSIGN_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Your access token; better in COUNTERSIGN_TOKEN or a file, where other users cannot see it
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file that holds your access token; wins over --token
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The CAs (PEM) that the server's certificate may be from; without it, those of this system
    #[arg(long, global = true, env = "COUNTERSIGN_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Your client certificate (PEM), with the intermediate ones; needs --key
    #[arg(long, global = true, env = "COUNTERSIGN_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The private key of your client certificate (PEM)
    #[arg(long, global = true, env = "COUNTERSIGN_KEY", hide_env_values = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Send the token unencrypted to another machine, where a mesh or tunnel encrypts it
    #[arg(long, global = true, env = "COUNTERSIGN_ALLOW_PLAINTEXT")]
    allow_plaintext: bool,
}

enum Scheme {
    Clear,
    Tls,
}

impl Remote {
    fn server(&self) -> &str {
        self.server.as_deref().unwrap_or(DEFAULT)
    }

    /// Whether somebody said which server.
    pub fn is_named(&self) -> bool {
        self.server.is_some()
    }

    /// Connects as whoever the token names.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(match self.check_address()? {
            Scheme::Clear => Client::connect(self.server(), self.bearer()?).await?,
            Scheme::Tls => Client::connect_tls(self.server(), self.bearer()?, self.tls()?).await?,
        })
    }

    fn tls(&self) -> Result<Tls, Failure> {
        let read = |file: &PathBuf| {
            let unreadable = |error| Failure::Usage(format!("cannot read `{}`: {error}", file.display()));
            std::fs::read(file).map_err(unreadable)
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Failure::Usage("--cert and --key go together".into()));
            }
        };
        Ok(Tls { ca: self.ca.as_ref().map(read).transpose()?, identity })
    }

    /// A token must not cross a network in clear without somebody saying so.
    fn check_address(&self) -> Result<Scheme, Failure> {
        let no_address =
            || Failure::Usage(format!("`{}` is not an address such as `http://127.0.0.1:7443`", self.server()));
        // Whoever names a CA or a certificate does not expect to talk in clear.
        let expects_tls = self.ca.is_some() || self.cert.is_some() || self.key.is_some();
        let in_clear = || {
            let server = self.server();
            Failure::Usage(format!("`{server}` is not encrypted, and --ca, --cert and --key are for `https://..`"))
        };
        if let Some(socket) = self.server().strip_prefix("unix:") {
            return match socket.starts_with("///") {
                true if expects_tls => Err(in_clear()),
                // It does not leave this machine.
                true => Ok(Scheme::Clear),
                false => Err(Failure::Usage(format!("`{}` is not a socket such as `unix:///run/..`", self.server()))),
            };
        }
        let uri: http::Uri = self.server().parse().map_err(|_| no_address())?;
        let host = uri.host().ok_or_else(no_address)?;
        match uri.scheme_str() {
            Some("http") if expects_tls => Err(in_clear()),
            Some("http") if is_loopback(host) || self.allow_plaintext => Ok(Scheme::Clear),
            Some("http") => Err(Failure::Usage(format!(
                "`{}` is another machine: your token would cross the network unencrypted; use `https://..`, or pass --allow-plaintext \
                 if a mesh or tunnel encrypts it",
                self.server()
            ))),
            Some("https") => Ok(Scheme::Tls),
            Some(_) | None => Err(no_address()),
        }
    }

    fn bearer(&self) -> Result<Option<BearerToken>, Failure> {
        let no_token = |place: String| Failure::Usage(format!("{place} holds no token"));
        if let Some(file) = &self.token_file {
            let unreadable = |error| Failure::Usage(format!("cannot read `{}`: {error}", file.display()));
            let text = std::fs::read_to_string(file).map_err(unreadable)?;
            return BearerToken::new(&text).map(Some).ok_or_else(|| no_token(format!("`{}`", file.display())));
        }
        let given = self.token.as_deref().filter(|token| !token.is_empty());
        given
            .map(|token| BearerToken::new(token).ok_or_else(|| no_token("COUNTERSIGN_TOKEN or --token".into())))
            .transpose()
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(server: &str) -> Remote {
        let server = Some(server.to_owned());
        Remote { server, token: None, token_file: None, ca: None, cert: None, key: None, allow_plaintext: false }
    }

    #[test]
    fn certificates_are_shown_over_tls_only_and_with_their_key() {
        let ca = Remote { ca: Some("ca.crt".into()), ..remote("http://127.0.0.1:1") };
        assert!(ca.check_address().is_err());
        assert!(Remote { ca: ca.ca, ..remote("unix:///run/a.sock") }.check_address().is_err());
        let keyless = Remote { cert: Some("a.crt".into()), ..remote("https://127.0.0.1:1") };
        assert!(keyless.check_address().is_ok() && keyless.tls().is_err());
    }

    #[test]
    fn a_token_does_not_leave_the_machine_unencrypted_unless_told() {
        let check =
            |server: &str, allow_plaintext| Remote { allow_plaintext, ..remote(server) }.check_address().is_ok();
        for good in
            ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://pdp.internal", "unix:///run/a.sock"]
        {
            assert!(check(good, false), "{good}");
        }
        assert!(!check("http://pdp.internal:7443", false) && check("http://pdp.internal:7443", true));
        for bad in ["pdp", "ftp://127.0.0.1", "http://localhost.evil.example:1", "unix:a.sock", "unix://pdp.internal/a"]
        {
            assert!(!check(bad, false), "{bad}");
        }
    }
}
