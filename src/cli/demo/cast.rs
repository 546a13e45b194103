//! Who plays: everybody with a token of their own, fetched as any client fetches it.

use super::house::House;
use crate::cli::failure::Failure;
use crate::cli::token::{DevIssuerClient, known};
use crate::grpc::client::{BearerToken, Client};

pub struct Cast {
    /// The agent.
    pub bot: Client,
    pub alice: Client,
    pub bob: Client,
    /// The auditor.
    pub erin: Client,
}

impl Cast {
    pub async fn gather(house: &House) -> Result<Self, Failure> {
        let issuer = DevIssuerClient::new(house.issuer_url())?;
        let server = Client::connect(house.server_url(), None).await?;
        Ok(Self {
            bot: join(&issuer, &server, "report-bot").await?,
            alice: join(&issuer, &server, "alice").await?,
            bob: join(&issuer, &server, "bob").await?,
            erin: join(&issuer, &server, "erin").await?,
        })
    }
}

async fn join(issuer: &DevIssuerClient, server: &Client, who: &str) -> Result<Client, Failure> {
    let token = issuer.token(known(who)?).await?;
    let token =
        BearerToken::new(&token).ok_or_else(|| Failure::Failed(format!("{who} got something that is no token")))?;
    Ok(server.with_token(token))
}
