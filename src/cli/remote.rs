//! The server to talk to, and as whom.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::grpc::client::{BearerToken, Client};

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct Remote {
    /// The server's address
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_SERVER",
        default_value = "http://127.0.0.1:7443",
        value_name = "URL"
    )]
    server: String,
    /// Your access token; better in COUNTERSIGN_TOKEN or a file, where other users cannot see it
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file that holds your access token; wins over --token
    #[arg(long, global = true, env = "COUNTERSIGN_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the token unencrypted to another machine, where a mesh or tunnel encrypts it
    #[arg(long, global = true, env = "COUNTERSIGN_ALLOW_PLAINTEXT")]
    allow_plaintext: bool,
}

impl Remote {
    /// Connects as whoever the token names.
    pub async fn connect(&self) -> Result<Client, Failure> {
        self.check_address()?;
        Ok(Client::connect(&self.server, self.bearer()?).await?)
    }

    /// A token must not cross a network in clear without somebody saying so.
    fn check_address(&self) -> Result<(), Failure> {
        let no_address =
            || Failure::Usage(format!("`{}` is not an address such as `http://127.0.0.1:7443`", self.server));
        let uri: http::Uri = self.server.parse().map_err(|_| no_address())?;
        let host = uri.host().ok_or_else(no_address)?;
        match uri.scheme_str() {
            Some("http") if is_loopback(host) || self.allow_plaintext => Ok(()),
            Some("http") => Err(Failure::Usage(format!(
                "`{}` is another machine: your token would cross the network unencrypted; pass --allow-plaintext \
                 if a mesh or tunnel encrypts it",
                self.server
            ))),
            Some("https") => {
                Err(Failure::Usage("this build cannot speak TLS: reach the server through a local tunnel".into()))
            }
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

    #[test]
    fn a_token_does_not_leave_the_machine_unencrypted_unless_told() {
        let check = |server: &str, allow_plaintext| {
            let remote = Remote { server: server.into(), token: None, token_file: None, allow_plaintext };
            remote.check_address().is_ok()
        };
        for good in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert!(check(good, false), "{good}");
        }
        assert!(!check("http://pdp.internal:7443", false) && check("http://pdp.internal:7443", true));
        for bad in ["pdp", "ftp://127.0.0.1", "https://pdp.internal", "http://localhost.evil.example:1"] {
            assert!(!check(bad, false), "{bad}");
        }
    }
}
