//! A request on its way out.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use http_body::Frame;

use crate::gate::body::RequestBody;
use crate::http::forwarding::BodyLength;

/// A piece of a request's body up to this size is copied behind what is to be sent before it; a larger one is sent from
/// where it lies.
const COPY: usize = 8 * 1024;

/// The request on its way out.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// What is to be written first,
    pub(super) head: BytesMut,
    /// then this,
    pub(super) piece: Bytes,
    /// then this,
    pub(super) tail: &'static [u8],
    /// and then what the client still sends.
    pub(super) body: Option<RequestBody>,
    pub(super) chunked: bool,
    /// What of a body of announced length was not added yet.
    pub(super) owed: u64,
    pub(super) names_address: bool,
    pub(super) begun: bool,
    /// What had left on the connection before.
    pub(super) sent_before: u64,
    /// The application takes no more; it may still have an answer.
    pub(super) cut_short: bool,
}

/// A request as it goes out.
#[derive(Debug)]
pub(in crate::gate) struct Outgoing {
    pub(super) head: BytesMut,
    pub(super) body: Option<RequestBody>,
    pub(super) chunked: bool,
    /// How long the body is, if that is announced.
    pub(super) owed: u64,
    /// Whether its `Host` is that of the address that it is sent to.
    pub(super) names_address: bool,
}

impl Outgoing {
    /// A request with its head as written, and the body that the head announces.
    pub(in crate::gate) fn new(head: BytesMut, body: RequestBody, length: BodyLength) -> Self {
        let body = matches!(length, BodyLength::Exactly(_) | BodyLength::Chunked).then_some(body);
        let owed = if let BodyLength::Exactly(length) = length { length } else { 0 };
        Self { head, body, chunked: length == BodyLength::Chunked, owed, names_address: false }
    }

    /// A request without a body.
    pub(in crate::gate) const fn bodiless(head: BytesMut) -> Self {
        Self { head, body: None, chunked: false, owed: 0, names_address: false }
    }

    /// The same, whose `Host` is that of the first address as long as it is sent there, and else that of another.
    #[must_use]
    pub(in crate::gate) fn naming_address(mut self, names_address: bool) -> Self {
        self.names_address = names_address;
        self
    }

    /// Puts the `Host` of the address in that it is sent to.
    pub(super) fn address(&mut self, host: &HeaderValue) {
        if !self.names_address {
            return;
        }
        let mut lines = self.head.as_ref().split(|byte: &u8| *byte == b'\n');
        // The target is canonical, so the first line ends where it seems to, and Host is the second.
        let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
        let mut head = BytesMut::with_capacity(self.head.len() + host.len());
        head.extend_from_slice(first);
        head.extend_from_slice(b"\nhost: ");
        head.extend_from_slice(host.as_bytes());
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(self.head.get(first.len() + second.len() + 2..).unwrap_or_default());
        self.head = head;
    }
}

impl Upload {
    pub(super) fn is_pending(&self) -> bool {
        self.head.has_remaining() || self.piece.has_remaining() || !self.tail.is_empty()
    }

    pub(super) fn written(&mut self, mut bytes: usize) {
        self.begun = true;
        let mut taken = bytes.min(self.head.len());
        self.head.advance(taken);
        bytes -= taken;
        taken = bytes.min(self.piece.len());
        self.piece.advance(taken);
        bytes -= taken;
        self.tail = self.tail.get(bytes..).unwrap_or_default();
    }

    pub(super) fn add(&mut self, frame: Frame<Bytes>) {
        let data = match frame.into_data() {
            // An empty chunk would be the last one.
            Ok(data) if data.is_empty() => return,
            Ok(data) => data,
            Err(frame) => return self.finish(frame.into_trailers().ok()),
        };
        self.owed = self.owed.saturating_sub(data.len() as u64);
        if self.chunked {
            self.head.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            self.tail = b"\r\n";
        }
        if data.len() <= COPY {
            self.head.extend_from_slice(&data);
            self.head.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.piece = data;
        }
    }

    /// The client has sent everything.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.body = None;
        if !self.chunked {
            return;
        }
        self.head.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten() {
            self.head.extend_from_slice(name.as_str().as_bytes());
            self.head.extend_from_slice(b": ");
            self.head.extend_from_slice(value.as_bytes());
            self.head.extend_from_slice(b"\r\n");
        }
        self.head.extend_from_slice(b"\r\n");
    }
}
