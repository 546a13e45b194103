//! `countersign healthcheck`: what a container runtime runs to learn whether the server beside it is well.
//!
//! It asks `grpc.health.v1`, as any probe would. No token is sent where the server is the one of this configuration.

use clap::Args;

use super::config::File;
use super::failure::Failure;
use super::remote::Remote;
use super::screen::Screen;
use crate::config::Layers;
use crate::grpc::client::{CallError, Client, Code};
use crate::grpc::local;

#[derive(Debug, Args)]
pub struct Healthcheck {
    #[command(flatten)]
    file: File,
    /// Ask after one part: `journal`, `store`, `policies` or `issuer.<name>`; without it, after the whole
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
}

impl Healthcheck {
    /// Whatever is wrong is exit code 1: runtimes know no other.
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        let asked = if self.service.is_empty() { "the server" } else { self.service.as_str() }.to_owned();
        let serving = self.ask(remote).await.map_err(|failure| Failure::Failed(failure.to_string()))?;
        if serving {
            screen.line(&format!("{asked} is well"))
        } else {
            Err(Failure::Failed(format!("{asked} is not serving")))
        }
    }

    async fn ask(self, remote: &Remote) -> Result<bool, Failure> {
        let client = if remote.is_named() { remote.connect().await? } else { self.beside().await? };
        client.is_serving(&self.service).await.map_err(|error| match error.code {
            Code::NotFound => {
                let message = format!("the server has no part `{}` whose health it tells", self.service);
                Failure::Call(CallError { message, ..error })
            }
            _ => Failure::Call(error),
        })
    }

    /// The server that this configuration is of.
    async fn beside(&self) -> Result<Client, Failure> {
        let grpc = Layers::of_process(self.file.config.clone()).load()?.grpc;
        let Some(address) = local::beside(grpc.listen) else {
            return Err(Failure::Usage(format!(
                "the server listens at {}, which is no loopback address: name it with `--server`",
                grpc.listen
            )));
        };
        Ok(match &grpc.tls {
            Some(files) => Client::connect_beside(address, files).await?,
            None => Client::connect(&format!("http://{address}"), None).await?,
        })
    }
}
