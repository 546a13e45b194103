//! A TCP proxy between two parties who need not know: it passes, pauses, swallows, delays and cuts.
//!
//! Faults of a network without a network: `tc` and namespaces need rights that tests do not have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

const CHUNK_BYTES: usize = 16 << 10;

/// What becomes of bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// They wait here, and so do new connections, until the mode changes.
    Hold,
    /// They vanish, with every connection open: a cable that was pulled.
    Swallow,
    /// They come so much later.
    Delay(Duration),
    /// Connections are closed, new ones too.
    Refuse,
}

/// Dropping it cuts everything.
pub struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
    pipes: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Passes everything on to a loopback port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (mode, pipes) = (watch::Sender::new(Mode::Pass), Arc::default());
        let accepting = tokio::spawn(accept(listener, mode.subscribe(), port, Arc::clone(&pipes)));
        Self { port: own, mode, pipes, accepting: accepting.abort_handle() }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// Breaks every connection there is; new ones are as the mode says.
    pub fn cut(&self) {
        self.pipes.lock().unwrap().drain(..).for_each(|pipe| pipe.abort());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, mode: watch::Receiver<Mode>, port: u16, pipes: Arc<Mutex<Vec<AbortHandle>>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        if *mode.borrow() == Mode::Refuse {
            continue;
        }
        let pipe = tokio::spawn(connect(stream, port, mode.clone()));
        let mut pipes = pipes.lock().unwrap();
        pipes.retain(|pipe| !pipe.is_finished());
        pipes.push(pipe.abort_handle());
    }
}

/// Both directions of one connection; one that ends ends the other.
async fn connect(near: TcpStream, port: u16, mode: watch::Receiver<Mode>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_in, far_out, mode.clone()) => {}
        () = pass(far_in, near_out, mode) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let count = match from.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Hold).await.map(|mode| *mode) else { return };
        match now {
            Mode::Swallow => continue,
            Mode::Delay(span) => tokio::time::sleep(span).await,
            Mode::Pass | Mode::Hold | Mode::Refuse => {}
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
