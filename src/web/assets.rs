//! The style, the script and the icon: part of the program. Each has its content's hash in its address, so that a browser may
//! keep it for ever and never shows an old one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const ALL: [Asset; 3] = [
    Asset { name: "inbox.css", media_type: "text/css; charset=utf-8", text: include_str!("assets/inbox.css") },
    Asset { name: "inbox.js", media_type: "text/javascript; charset=utf-8", text: include_str!("assets/inbox.js") },
    Asset { name: "icon.svg", media_type: "image/svg+xml", text: include_str!("assets/icon.svg") },
];

/// The addresses of the assets.
pub struct Addresses {
    pub style: String,
    pub script: String,
    pub icon: String,
}

pub static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| {
    let [style, script, icon] = ALL.map(|asset| asset.address());
    Addresses { style, script, icon }
});

impl Asset {
    fn digest(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.text.as_bytes()).into();
        URL_SAFE_NO_PAD.encode(digest.first_chunk::<9>().unwrap_or(&[0; 9]))
    }

    fn address(&self) -> String {
        format!("/assets/{}/{}", self.digest(), self.name)
    }
}

pub async fn serve(Path((digest, name)): Path<(String, String)>) -> Response {
    let found = ALL.iter().find(|asset| asset.name == name && asset.digest() == digest);
    let Some(asset) = found else { return StatusCode::NOT_FOUND.into_response() };
    let headers =
        [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.text).into_response()
}
