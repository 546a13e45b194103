//! A Redis that speaks TLS and lets in one user by password, who may touch nothing but keys under our prefix.

use super::{Redis, Spec, free_port};
use crate::support::pki::Ca;

/// The user, and the prefix that is all of its world.
pub const USER: &str = "countersign";
pub const PREFIX: &str = "countersign";

pub struct Guarded {
    /// Also listens in clear, for the test itself.
    pub server: Redis,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Guarded {
    pub async fn start(password: &str) -> Self {
        let (ca, dir, port) = (Ca::new("redis"), tempfile::tempdir().unwrap(), free_port());
        let pair = ca.server();
        for (name, text) in [("ca.crt", ca.pem()), ("server.crt", pair.certificate), ("server.key", pair.key)] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let file = |name: &str| dir.path().join(name).display().to_string();
        let spec = Spec::default()
            .set("tls-port", &port.to_string())
            .set("tls-cert-file", &file("server.crt"))
            .set("tls-key-file", &file("server.key"))
            .set("tls-ca-cert-file", &file("ca.crt"))
            .set("tls-auth-clients", "no");
        let guarded = Self { server: Redis::with(&spec).await, port, dir };
        let keys = format!("~{{{PREFIX}:*");
        let rules = [
            "ACL",
            "SETUSER",
            USER,
            "reset",
            "on",
            &keys,
            "+@all",
            "-@admin",
            "-@dangerous",
            "+info",
            "+role",
            "+wait",
            "+config|get",
        ];
        guarded.server.ask::<()>(&rules).await;
        guarded.set_password(password).await;
        guarded
    }

    /// Only this password opens from now on; whoever is in stays until he comes again.
    pub async fn set_password(&self, password: &str) {
        std::fs::write(self.password_file(), format!("{password}\n")).unwrap();
        self.server.ask::<()>(&["ACL", "SETUSER", USER, "resetpass", &format!(">{password}")]).await;
    }

    /// Throws everybody out.
    pub async fn throw_out(&self) {
        let _: i64 = self.server.ask(&["CLIENT", "KILL", "USER", USER]).await;
    }

    pub fn url(&self) -> String {
        format!("rediss://localhost:{}", self.port)
    }

    pub fn ca_file(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.crt")
    }

    pub fn password_file(&self) -> std::path::PathBuf {
        self.dir.path().join("password")
    }
}
