//! Fields of multipart forms (RFC 7578).

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName};
use multer::Multipart;

use super::{Likeness, only, parameters};

const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// The field `name` of a multipart form that is wholly in memory. `None` when it is not there, and when another parser may
/// read another value: a part that is encoded, a name in two ways, a file, something that looks like a boundary to those
/// who take bare line feeds.
///
/// Nothing is waited for, so there is nothing to cancel.
pub async fn multipart_field(boundary: &str, body: Bytes, name: &str) -> Option<String> {
    let delimiter = format!("--{boundary}");
    if !body.starts_with(delimiter.as_bytes()) {
        return None;
    }
    let delimiters = body.windows(delimiter.len()).filter(|window| *window == delimiter.as_bytes()).count();
    let body = futures_util::stream::iter([Ok::<_, Infallible>(body)]);
    let mut form = Multipart::new(body, boundary);
    let mut found: Option<String> = None;
    let mut parts: usize = 0;
    while let Some(part) = form.next_field().await.ok()? {
        parts += 1;
        let likeness = match disposition(part.headers())? {
            Disposition { name: given, .. } if part.name() != Some(given) => return None,
            Disposition { name: given, file } => match Likeness::of(given, name) {
                Likeness::Same if file => Likeness::Alias,
                likeness @ (Likeness::Same | Likeness::Alias | Likeness::Other) => likeness,
            },
        };
        match likeness {
            Likeness::Other => continue,
            Likeness::Alias => return None,
            Likeness::Same if !is_plain_text(part.headers()) => return None,
            Likeness::Same => {}
        }
        let value = String::from_utf8(part.bytes().await.ok()?.into()).ok()?;
        match &found {
            Some(first) if *first != value => return None,
            Some(_) => {}
            None => found = Some(value),
        }
    }
    // Every delimiter began a part or ended the form; none stands inside a value.
    if delimiters == parts + 1 { found } else { None }
}

/// RFC 2046 section 5.1.1, without the space.
pub(super) fn is_boundary(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(allowed)
}

/// What the Content-Disposition of a part says.
struct Disposition<'a> {
    name: &'a str,
    file: bool,
}

fn disposition(headers: &HeaderMap) -> Option<Disposition<'_>> {
    let mut lines = headers.get_all(CONTENT_DISPOSITION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let line = str::from_utf8(line.as_bytes()).ok()?;
    let (kind, rest) = line.split_at(line.find(';')?);
    let parameters = parameters(rest)?;
    let name = only(&parameters, "name")??;
    let file = parameters.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("filename"));
    kind.trim().eq_ignore_ascii_case("form-data").then_some(Disposition { name, file })
}

/// Whether everybody reads the bytes of this part as UTF-8 text: nothing says otherwise.
fn is_plain_text(headers: &HeaderMap) -> bool {
    let as_it_is = |encoding: &[u8]| {
        [&b"7bit"[..], b"8bit", b"binary"].into_iter().any(|known| encoding.eq_ignore_ascii_case(known))
    };
    let text = |line: &str| {
        let (essence, rest) = line.split_at(line.find(';').unwrap_or(line.len()));
        let charset = parameters(rest).and_then(|parameters| only(&parameters, "charset"));
        essence.trim().eq_ignore_ascii_case("text/plain")
            && charset.is_some_and(|charset| charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8")))
    };
    headers.get_all(CONTENT_TRANSFER_ENCODING).iter().all(|encoding| as_it_is(encoding.as_bytes()))
        && headers.get_all(CONTENT_TYPE).iter().all(|line| line.to_str().is_ok_and(text))
}
