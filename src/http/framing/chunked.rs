//! Bodies in chunks (RFC 9112 section 7.1).

use bytes::{Buf as _, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Broken, MAX_FIELDS, Piece, take_data};

/// The longest line that gives a chunk's size, and all trailers together.
const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILERS: usize = 16 * 1024;

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// At a chunk's size.
    Size,
    /// In a chunk with so many bytes to come.
    Data(u64),
    /// At the line break after a chunk.
    End,
    /// After the last chunk.
    Trailers,
    /// Behind the end.
    Done,
}

impl Chunk {
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Broken> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = take_line(buffer, MAX_CHUNK_LINE)? else { return Ok(None) };
                    *self = match chunk_size(&line)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Data(remaining) => {
                    let piece = take_data(buffer, remaining);
                    if *remaining == 0 {
                        *self = Self::End;
                    }
                    return Ok(piece);
                }
                Self::End => match buffer.get(..2) {
                    None => return Ok(None),
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Broken::Chunk),
                },
                Self::Trailers => {
                    let Some(trailers) = take_trailers(buffer)? else { return Ok(None) };
                    *self = Self::Done;
                    return Ok(Some(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) }));
                }
                Self::Done => return Ok(Some(Piece::End)),
            }
        }
    }
}

/// A line without its CRLF. A bare LF or CR is no line end here.
fn take_line(buffer: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, Broken> {
    match buffer.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > longest => Err(Broken::Chunk),
        Some(end) => {
            let mut line = buffer.split_to(end + 1);
            if !line.ends_with(b"\r\n") {
                return Err(Broken::Chunk);
            }
            line.truncate(line.len() - 2);
            Ok(Some(line))
        }
        None if buffer.len() > longest => Err(Broken::Chunk),
        None => Ok(None),
    }
}

/// RFC 9112 section 7.1: hexadecimal digits, then extensions, which end here.
fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let (digits, extensions) = match line.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')) {
        Some(end) => line.split_at(end),
        None => (line, &[][..]),
    };
    let padding = extensions.trim_ascii_start();
    if digits.is_empty() || digits.len() > 15 || !(padding.is_empty() || padding.starts_with(b";")) {
        return Err(Broken::Chunk);
    }
    if extensions.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Broken::Chunk);
    }
    digits.iter().try_fold(0_u64, |size, digit| {
        let value = char::from(*digit).to_digit(16).ok_or(Broken::Chunk)?;
        Ok(size * 16 + u64::from(value))
    })
}

fn take_trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Broken> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > MAX_TRAILERS { Err(Broken::Chunk) } else { Ok(None) };
    };
    if end > MAX_TRAILERS {
        return Err(Broken::Chunk);
    }
    let block = buffer.split_to(end + 4);
    // A bare line feed ends a field for some, and is a part of it for others.
    if block.iter().zip(block.iter().skip(1)).any(|(before, byte)| *byte == b'\n' && *before != b'\r') {
        return Err(Broken::Chunk);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    // Should the parser see their end elsewhere than we do, nobody knows where the next message begins.
    let fields = match httparse::parse_headers(&block, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) if length == block.len() => fields,
        Ok(_) | Err(_) => return Err(Broken::Chunk),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Broken::Chunk)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Broken::Chunk)?;
        trailers.append(name, value);
    }
    Ok(Some(trailers))
}
