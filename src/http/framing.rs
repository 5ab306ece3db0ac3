//! How long the body of an HTTP/1.1 message is, and its pieces (RFC 9112 sections 6 and 7): of a client's request, and of an
//! application's response.
//!
//! Pure functions on a buffer of what was received so far. Whatever leaves a doubt about where a body ends is an error.

mod chunked;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};

pub use self::chunked::Chunk;

/// The most fields of trailers, and of a response's head.
pub(super) const MAX_FIELDS: usize = 128;

/// Why a body cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its chunks are not what they should be.
    #[error("the body's chunks are broken")]
    Chunk,
    /// It ended before its end.
    #[error("the body broke off")]
    Incomplete,
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Everything until the connection is closed.
    UntilClose,
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Data.
    Data(Bytes),
    /// The trailers, which are the last piece.
    Trailers(HeaderMap),
    /// The end.
    End,
}

impl Framing {
    /// Whether the body has come to its end.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// How many bytes are still to come, when that is known.
    pub const fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Chunked(Chunk::Done) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next piece of the body off the buffer. `None` when more must be received first; `closed` says that no more
    /// will come.
    ///
    /// # Errors
    /// [`Broken::Chunk`] and, when the connection was closed too early, [`Broken::Incomplete`].
    pub fn take(&mut self, buffer: &mut BytesMut, closed: bool) -> Result<Option<Piece>, Broken> {
        let piece = match self {
            Self::Length(0) => return Ok(Some(Piece::End)),
            Self::Length(remaining) => take_data(buffer, remaining),
            Self::UntilClose if buffer.is_empty() && closed => {
                *self = Self::Length(0);
                return Ok(Some(Piece::End));
            }
            Self::UntilClose => {
                let mut all = u64::MAX;
                take_data(buffer, &mut all)
            }
            Self::Chunked(chunk) => chunk.take(buffer)?,
        };
        match piece {
            None if closed => Err(Broken::Incomplete),
            piece => Ok(piece),
        }
    }
}

fn take_data(buffer: &mut BytesMut, remaining: &mut u64) -> Option<Piece> {
    if buffer.is_empty() {
        return None;
    }
    let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(buffer.len());
    *remaining -= length as u64;
    Some(Piece::Data(buffer.split_to(length).freeze()))
}

/// The value of `Content-Length` (RFC 9110 section 8.6): digits and nothing else.
pub(super) fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0')))
}
