//! Connections: to whom, as whom, encrypted how. The password is read anew for each, so that a rotated one is used from the
//! next connection on.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates,
};

use super::settings::{Address, Login, Settings};
use super::trouble::Trouble;

/// How long an answer may take on a connection.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// As long as a command may.
    Command,
    /// So long: the connection is for commands that block.
    For(Duration),
}

/// Opens a connection to a Redis server.
pub async fn dial(
    settings: &Settings,
    address: &Address,
    patience: Patience,
) -> Result<MultiplexedConnection, Trouble> {
    open(settings, address, &settings.login, patience).await
}

/// Opens a connection to a Sentinel.
pub async fn dial_sentinel(settings: &Settings, address: &Address) -> Result<MultiplexedConnection, Trouble> {
    open(settings, address, &settings.sentinel_login, Patience::Command).await
}

async fn open(
    settings: &Settings,
    address: &Address,
    login: &Login,
    patience: Patience,
) -> Result<MultiplexedConnection, Trouble> {
    let failed = |error| Trouble::Redis { address: address.clone(), error };
    let timeout = settings.command_timeout;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(match patience {
            Patience::Command => timeout,
            Patience::For(duration) => duration,
        }));
    let client = client(settings, address, login).await?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    // The library's own limit is for the socket; a server that accepts and says nothing must not hold anybody up either.
    let connected = tokio::time::timeout(timeout * 2, connecting).await;
    connected.map_err(|_| Trouble::TimedOut(timeout * 2))?.map_err(failed)
}

async fn client(settings: &Settings, address: &Address, login: &Login) -> Result<Client, Trouble> {
    let failed = |error| Trouble::Redis { address: address.clone(), error };
    let mut who = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(username) = &login.username {
        who = who.set_username(username);
    }
    if let Some(file) = &login.password_file {
        let reason = |error: std::io::Error| error.to_string().into();
        let password = tokio::fs::read_to_string(file)
            .await
            .map_err(|error| Trouble::Password { file: file.display().to_string(), reason: reason(error) })?;
        who = who.set_password(password.trim_end_matches(['\r', '\n']));
    }
    let Address { host, port } = address.clone();
    let plain = ConnectionAddr::Tcp(host.clone(), port);
    let secure = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
    let info = |addr: ConnectionAddr| -> Result<ConnectionInfo, Trouble> {
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(addr.into_connection_info().map_err(failed)?.set_redis_settings(who).set_tcp_settings(tcp))
    };
    match &settings.encryption {
        None => Client::open(info(plain)?).map_err(failed),
        Some(encryption) => {
            let root_cert = match &encryption.ca_file {
                Some(file) => Some(authorities(file).await?),
                None => None,
            };
            let certificates = TlsCertificates { client_tls: None, root_cert };
            Client::build_with_tls(info(secure)?, certificates).map_err(failed)
        }
    }
}

async fn authorities(file: &Path) -> Result<Vec<u8>, Trouble> {
    let read = tokio::fs::read(file).await;
    read.map_err(|error| Trouble::Authorities { file: file.display().to_string(), reason: error.to_string().into() })
}
