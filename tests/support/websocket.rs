//! WebSockets, byte by byte: what is said to open one, and frames.

use super::client::{Connection, find};
use super::gateway::{AGENT, Gateway};
use super::peer::Peer;

/// The example of RFC 6455 section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// A request that opens a WebSocket, with these header lines besides.
pub fn opening(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {AGENT}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
    )
}

/// The consent to it, with these header lines besides.
pub fn consent(headers: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\
         {headers}\r\n"
    )
}

/// A frame as a server sends it.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ ..126 => frame.push(short as u8),
        length @ ..65_536 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A frame as a client sends it.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut frame = frame(opcode, payload);
    frame[1] |= 0x80;
    let header = frame.len() - payload.len();
    for (byte, mask) in frame[header..].iter_mut().zip(MASK.into_iter().cycle()) {
        *byte ^= mask;
    }
    frame.splice(header..header, MASK);
    frame
}

/// Reads one frame that a server sent.
pub fn read_frame(connection: &mut Connection) -> (u8, Vec<u8>) {
    let head = connection.take(2);
    let length = match head[1] {
        126 => u16::from_be_bytes(connection.take(2).try_into().unwrap()).into(),
        127 => u64::from_be_bytes(connection.take(8).try_into().unwrap()) as usize,
        short => usize::from(short),
    };
    (head[0] & 0x0f, connection.take(length))
}

/// Reads the frame that closes: its code and its reason.
#[track_caller]
pub fn read_close(connection: &mut Connection) -> (u16, String) {
    let (opcode, payload) = read_frame(connection);
    assert_eq!(opcode, CLOSE, "{payload:?}");
    (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap())
}

/// An open WebSocket: both ends.
pub struct Open {
    pub client: Connection,
    pub app: Connection,
    /// What the application was sent to open it.
    pub head: String,
}

/// Opens a WebSocket with these header lines through `gateway`, to an application that the test plays.
#[track_caller]
pub fn open(gateway: &Gateway, peer: &Peer, headers: &str) -> Open {
    let mut client = gateway.connect();
    client.send(opening("/ws", headers));
    let mut app = peer.accept();
    let head = app.read_head().unwrap();
    app.send(consent(""));
    let answer = client.read_head().unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(find(&answer, "sec-websocket-accept"), Some(ACCEPT));
    Open { client, app, head }
}

impl Open {
    /// A word there and back.
    #[track_caller]
    pub fn works(&mut self) {
        self.client.send(masked(TEXT, b"ping"));
        assert_eq!(self.app.take(10), masked(TEXT, b"ping"));
        self.app.send(frame(TEXT, b"pong"));
        assert_eq!(read_frame(&mut self.client), (TEXT, b"pong".to_vec()));
    }
}
