//! Client hints: what a browser says about itself in its `Sec-CH-UA` headers.
//!
//! They are structured fields (RFC 9651). One that is malformed, sent twice where it may stand once, or longer than any
//! browser's is as good as not sent: hints describe a device to its owner and decide nothing.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::user_agent::ClientHints;

const BRANDS: HeaderName = HeaderName::from_static("sec-ch-ua");
const MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");
const PLATFORM: HeaderName = HeaderName::from_static("sec-ch-ua-platform");
const MODEL: HeaderName = HeaderName::from_static("sec-ch-ua-model");

/// What the names of all hints about the user agent begin with.
const FAMILY: &str = "sec-ch-ua";
/// The longest header that is looked at.
const MAX_BYTES: usize = 1024;
/// The most brands that are kept. Browsers send three.
const MAX_BRANDS: usize = 8;
/// The longest name that is kept.
const MAX_NAME: usize = 128;

/// Reads the hints of a request.
pub fn read(headers: &HeaderMap) -> ClientHints {
    let mut brands = Vec::new();
    for line in headers.get_all(BRANDS) {
        brands.extend(brand_list(line).unwrap_or_default());
    }
    brands.truncate(MAX_BRANDS);
    ClientHints {
        brands,
        mobile: only(headers, &MOBILE).and_then(|line| item(line, Scanner::boolean)),
        platform: text(headers, &PLATFORM),
        model: text(headers, &MODEL),
    }
}

/// Adds a header that somebody passes on to those of [`read`]. Hints that nothing is read from are taken note of, since who
/// passes them on should not have to choose.
///
/// # Errors
/// A sentence about the name or value that is none of a client hint.
pub fn pass_on(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), &'static str> {
    let of_the_family = name.get(..FAMILY.len()).is_some_and(|start| start.eq_ignore_ascii_case(FAMILY));
    let name = HeaderName::try_from(name).ok().filter(|_| of_the_family);
    let name = name.ok_or("A client hint's name begins with Sec-CH-UA.")?;
    let value = HeaderValue::try_from(value).map_err(|_| "A client hint must be the text of a header.")?;
    headers.append(name, value);
    Ok(())
}

/// The one field of that name.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// A header that is one string; what a browser leaves empty it does not say.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = only(headers, name).and_then(|line| item(line, Scanner::string))?;
    let text = text.trim();
    (!matches!(text, "" | "Unknown")).then(|| text.to_owned())
}

/// A header that is one item, with or without parameters.
fn item<'a, T>(line: &'a HeaderValue, read: impl FnOnce(&mut Scanner<'a>) -> Option<T>) -> Option<T> {
    let mut scanner = Scanner::new(line)?;
    let value = read(&mut scanner)?;
    scanner.parameters()?;
    scanner.is_at_end().then_some(value)
}

/// `"Chromium";v="130", "Not?A_Brand";v="99"`: the names of those that are brands.
fn brand_list(line: &HeaderValue) -> Option<Vec<String>> {
    let mut scanner = Scanner::new(line)?;
    let mut brands = Vec::new();
    loop {
        let brand = scanner.string()?;
        scanner.parameters()?;
        if !is_grease(&brand) && !brand.trim().is_empty() {
            brands.push(brand.trim().to_owned());
        }
        if scanner.is_at_end() {
            return Some(brands);
        }
        scanner.comma()?;
    }
}

/// Whether a brand is there to keep readers from trusting the list's form: `Not)A;Brand`, in ever new spellings.
fn is_grease(brand: &str) -> bool {
    let letters: String = brand.chars().filter(char::is_ascii_alphabetic).collect();
    letters.eq_ignore_ascii_case("NotABrand")
}

/// Reads a structured field from front to back, each byte once.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn new(line: &'a HeaderValue) -> Option<Self> {
        let bytes = line.as_bytes();
        (bytes.len() <= MAX_BYTES).then(|| Self { rest: bytes.trim_ascii() })
    }

    const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Goes on behind this byte, if it is the next.
    fn take(&mut self, wanted: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[wanted])?;
        Some(())
    }

    fn skip_while(&mut self, skipped: impl Fn(u8) -> bool) {
        let end = self.rest.iter().position(|byte| !skipped(*byte)).unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    fn comma(&mut self) -> Option<()> {
        let blank = |byte| matches!(byte, b' ' | b'\t');
        self.skip_while(blank);
        self.take(b',')?;
        self.skip_while(blank);
        Some(())
    }

    /// `"text"`, with `\"` and `\\` for those two.
    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut text = String::new();
        loop {
            let byte = match self.next()? {
                b'"' => return (text.len() <= MAX_NAME).then_some(text),
                b'\\' => self.next().filter(|byte| matches!(byte, b'"' | b'\\'))?,
                byte @ b' '..=b'~' => byte,
                _ => return None,
            };
            text.push(char::from(byte));
        }
    }

    /// `?1` or `?0`
    fn boolean(&mut self) -> Option<bool> {
        self.take(b'?')?;
        match self.next()? {
            b'0' => Some(false),
            b'1' => Some(true),
            _ => None,
        }
    }

    /// `;key=value` any number of times. Nothing is read from them.
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';').is_some() {
            self.skip_while(|byte| byte == b' ');
            self.next().filter(|byte| byte.is_ascii_lowercase() || *byte == b'*')?;
            self.skip_while(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
            });
            if self.take(b'=').is_some() {
                match self.rest.first()? {
                    b'"' => drop(self.string()?),
                    b'?' => drop(self.boolean()?),
                    // Numbers, tokens, bytes and dates: whatever ends before the next delimiter.
                    _ => self.skip_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'"')),
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
