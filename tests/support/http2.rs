//! HTTP/2 by hand (RFC 9113), for what no client library would send.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number at a place of the payload, such as the error of RST_STREAM (0) and of GOAWAY (4).
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection whose frames the test writes.
pub struct Raw {
    stream: TcpStream,
    /// What the server set, by number.
    pub settings: Vec<(u16, u32)>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, b"").await
    }

    /// With settings of the client: its SETTINGS frame's payload.
    pub async fn with_settings(address: SocketAddr, ours: &[u8]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut raw = Self { stream, settings: Vec::new() };
        raw.write(&[PREFACE, &frame(SETTINGS, 0, 0, ours)].concat()).await;
        let theirs = raw.next_of(SETTINGS).await.payload;
        let pairs = theirs.chunks_exact(6);
        raw.settings = pairs
            .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes(pair[2..].try_into().unwrap())))
            .collect();
        raw.write(&frame(SETTINGS, ACK, 0, b"")).await;
        raw
    }

    /// The connection is alive: a ping comes back, and no farewell. The kinds of frames that came before it.
    pub async fn answers(&mut self) -> Vec<u8> {
        self.write(&frame(PING, 0, 0, b"alive?!?")).await;
        let mut before = Vec::new();
        loop {
            let frame = self.read().await.expect("the connection lives");
            match (frame.kind, frame.flags) {
                (PING, ACK) => return before,
                (GOAWAY, _) => panic!("the server ended the connection: {}", frame.number(4)),
                (kind, _) => before.push(kind),
            }
        }
    }

    /// The error with which the server ends the connection, and what it says of it.
    pub async fn farewell(&mut self) -> (u32, String) {
        let frame = self.next_of(GOAWAY).await;
        (frame.number(4), String::from_utf8_lossy(&frame.payload[8..]).into_owned())
    }

    /// Reads until the connection is over; the error with which the server ended it, where it came through.
    pub async fn read_to_end(&mut self) -> Option<u32> {
        let mut error = None;
        while let Ok(frame) = self.read().await {
            if frame.kind == GOAWAY {
                error = Some(frame.number(4));
            }
        }
        error
    }

    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().await.expect("the connection lives");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.unwrap();
    }

    /// To a server that may end the connection.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame; an error where the connection is over.
    pub async fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame { kind: head[3], flags: head[4], payload })
    }
}

/// RFC 9113 section 4.1.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a call of `path` whose message is still to come.
pub fn call(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(path, more))
}

/// The headers of a call; RFC 7541 without any compression.
pub fn block(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // POST over http, then names that are known by number.
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(&[0x04][..], path), (&[0x01], "localhost"), (&[0x0f, 0x10], "application/grpc")] {
        block.extend([name, &text(value)].concat());
    }
    for (name, value) in [("te", "trailers")].iter().chain(more) {
        block.extend([&[0][..], &text(name), &text(value)].concat());
    }
    block
}

/// A string as it is; its length takes seven bits and then as many bytes as it needs (RFC 7541 section 5.1).
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        short @ ..127 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// A message as gRPC frames it, and the end of what the client says.
pub fn message(stream: u32, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    frame(DATA, END_STREAM, stream, &[&[0][..], &length, message].concat())
}

pub fn cancelled(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}
