//! How a path is brought into its canonical spelling, and what has none.

/// Why a path has no safe canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Slash,
    Backslash,
    Control,
    Escape,
    Overlong,
    AboveRoot,
    DotParameters,
    Utf8,
}

impl Flaw {
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Slash => "The path has an encoded slash.",
            Self::Backslash => "The path has a backslash.",
            Self::Control => "The path has a control character.",
            Self::Escape => "The path has a % that is not followed by two hexadecimal digits.",
            Self::Overlong => "The path has an overlong UTF-8 sequence.",
            Self::AboveRoot => "The path climbs above the root.",
            Self::DotParameters => "The path has a dot segment with parameters.",
            Self::Utf8 => "The path is not UTF-8.",
        }
    }
}

/// What one pass over a path says.
pub(super) struct Found {
    /// Nothing has to be changed.
    pub(super) canonical: bool,
    /// A segment has parameters.
    pub(super) parameters: bool,
    /// An ASCII character is percent-encoded.
    pub(super) escapes: bool,
}

/// Looks at a path once. The verdict "not canonical" comes early, and says nothing of the rest.
pub(super) fn scan(path: &[u8]) -> Result<Found, Flaw> {
    const REWRITE: Found = Found { canonical: false, parameters: false, escapes: false };
    let (mut parameters, mut escapes) = (false, false);
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'/' => match after {
                [b'/', ..] => return Ok(REWRITE),
                [b'.', ..] if is_dot_segment(after) => return Ok(REWRITE),
                _ => {}
            },
            b';' => parameters = true,
            b'%' => {
                let (value, canonical) = escape(after)?;
                if !canonical {
                    return Ok(REWRITE);
                }
                parameters |= value == b';';
                escapes |= value.is_ascii();
                rest = after.get(2..).unwrap_or_default();
            }
            b'\\' => return Err(Flaw::Backslash),
            0..=0x1f | 0x7f => return Err(Flaw::Control),
            0x80.. => return Ok(REWRITE),
            _ => {}
        }
    }
    Ok(Found { canonical: true, parameters, escapes })
}

/// The value of the escape whose two digits begin `digits`, and whether it is spelled canonically: upper-case, and not of
/// an unreserved character.
fn escape(digits: &[u8]) -> Result<(u8, bool), Flaw> {
    let value = hex_pair(digits).ok_or(Flaw::Escape)?;
    match value {
        b'/' => return Err(Flaw::Slash),
        b'\\' => return Err(Flaw::Backslash),
        0..=0x1f | 0x7f => return Err(Flaw::Control),
        // An overlong sequence is a second spelling of a character that was refused or compared above: %C0%AF is a
        // slash to a careless decoder. Other bytes pass, for applications whose escapes are Latin-1.
        0xc0 | 0xc1 | 0xe0 | 0xf0 => {
            let next = match digits {
                [_, _, b'%', next @ ..] => hex_pair(next),
                _ => None,
            };
            if matches!(
                (value, next),
                (0xc0 | 0xc1, Some(0x80..=0xbf)) | (0xe0, Some(0x80..=0x9f)) | (0xf0, Some(0x80..=0x8f))
            ) {
                return Err(Flaw::Overlong);
            }
        }
        _ => {}
    }
    let upper = digits.iter().take(2).all(|digit| !digit.is_ascii_lowercase());
    Ok((value, upper && !is_unreserved(value)))
}

/// The byte that the two hexadecimal digits at the head of `digits` stand for.
fn hex_pair(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    match digits {
        [high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether what follows a slash begins with a `.` or `..` segment, with or without parameters.
const fn is_dot_segment(after_slash: &[u8]) -> bool {
    match after_slash {
        [b'.', b'.', rest @ ..] | [b'.', rest @ ..] => {
            matches!(rest, [] | [b'/' | b';', ..] | [b'%', b'3', b'B' | b'b', ..])
        }
        _ => false,
    }
}

/// Spells a path canonically.
pub(super) fn rewrite(path: &[u8]) -> Result<String, Flaw> {
    let spelled = spell(path)?;
    let mut whole = String::with_capacity(spelled.len());
    let mut ends_in_slash = false;
    for segment in spelled.split('/') {
        ends_in_slash = false;
        match segment {
            "" | "." => ends_in_slash = true,
            ".." => {
                // Removes the last segment with its slash; there is none above the root.
                let parent = whole.rfind('/').ok_or(Flaw::AboveRoot)?;
                whole.truncate(parent);
                ends_in_slash = true;
            }
            name if is_dotted_parameters(name) => return Err(Flaw::DotParameters),
            name => push_segment(&mut whole, name),
        }
    }
    if ends_in_slash {
        whole.push('/');
    }
    Ok(whole)
}

/// Spells each character canonically; the segments stay as they are.
fn spell(path: &[u8]) -> Result<String, Flaw> {
    let path = str::from_utf8(path).map_err(|_| Flaw::Utf8)?;
    let mut spelled = String::with_capacity(path.len() + 8);
    let mut characters = path.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '%' => {
                let (value, _) = escape(path.as_bytes().get(at + 1..).unwrap_or_default())?;
                if is_unreserved(value) {
                    spelled.push(char::from(value));
                } else {
                    push_escape(&mut spelled, value);
                }
                characters.nth(1);
            }
            '\\' => return Err(Flaw::Backslash),
            '\0'..='\x1f' | '\x7f' => return Err(Flaw::Control),
            _ if character.is_ascii() => spelled.push(character),
            _ => character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escape(&mut spelled, byte)),
        }
    }
    Ok(spelled)
}

fn push_escape(text: &mut String, byte: u8) {
    text.push_str(percent_encoding::percent_encode_byte(byte));
}

/// Appends a slash and a segment; an empty segment is merged into its neighbours.
pub(super) fn push_segment(path: &mut String, segment: &str) {
    if !segment.is_empty() {
        path.push('/');
        path.push_str(segment);
    }
}

/// Whether a segment is `.` or `..` to a program that drops parameters first.
fn is_dotted_parameters(segment: &str) -> bool {
    let after = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.'));
    after.is_some_and(|rest| rest.starts_with(';') || rest.starts_with("%3B"))
}

/// Decodes the escapes of ASCII characters once.
pub(super) fn decode_ascii(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        match hex_pair(after.as_bytes()) {
            Some(value) if value.is_ascii() => {
                decoded.push(char::from(value));
                rest = after.get(2..).unwrap_or_default();
            }
            Some(_) | None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}
