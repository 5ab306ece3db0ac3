//! Messages in the form of HTTP/2 (RFC 9113 section 8): the head of a request as an application gets it, and what of its
//! answer goes on.

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Uri, Version};

use super::client::Scheme;
use super::forwarding::{is_hop_by_hop, remove_matching};
use super::framing;
use super::response::Malformed;

/// More fields than any head has that we write.
const MAX_FIELDS: usize = 256;

/// The request whose head in the form of HTTP/1.1 this is, as [`write_request_head`](super::forwarding::write_request_head) has
/// written it. What of a client's request goes on is decided there, once for both forms. `None` for what it does not write.
///
/// `TE: trailers` is said for ourselves: trailers are passed on (RFC 9110 section 10.1.4), and gRPC insists on it.
pub fn request(head: &[u8], scheme: Scheme) -> Option<Request<()>> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, head, &mut fields).ok()?;
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    let target: PathAndQuery = parsed.path?.parse().ok()?;

    let mut authority = None;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name {
            HOST => authority = Some(Authority::try_from(field.value).ok()?),
            // How the body is framed is the protocol's own matter, and nothing is asked of the connection.
            CONNECTION | TRANSFER_ENCODING => {}
            name => {
                headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
            }
        }
    }
    headers.insert(TE, HeaderValue::from_static("trailers"));

    let uri = Uri::builder().scheme(scheme.as_str()).authority(authority?).path_and_query(target).build().ok()?;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, uri, Version::HTTP_2);
    *request.headers_mut() = headers;
    Some(request)
}

/// Takes out of an application's headers what is said about one connection alone (RFC 9110 section 7.6.1).
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    remove_matching(headers, is_hop_by_hop);
}

/// The same for its trailers, of which there may be as many as in chunks.
///
/// # Errors
/// [`Malformed::Trailers`].
pub fn trailers_to_client(trailers: &mut HeaderMap) -> Result<(), Malformed> {
    if trailers.len() > framing::MAX_FIELDS {
        return Err(Malformed::Trailers);
    }
    strip_hop_by_hop(trailers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_becomes_pseudo_headers_and_the_fields_that_are_no_matter_of_the_connection() {
        let head =
            b"POST /a%20b?c=d HTTP/1.1\r\nhost: app.test:8080\r\naccept: \xe4\r\naccept: b\r\nx-auth-user: ann\r\n\
            transfer-encoding: chunked\r\n\r\n";
        let request = request(head, Scheme::Https).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri().to_string(), "https://app.test:8080/a%20b?c=d");
        let headers = request.headers();
        let accept: Vec<_> = headers.get_all("accept").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(accept, [&b"\xe4"[..], b"b"]);
        assert_eq!((&headers["x-auth-user"], &headers[TE]), (&"ann".parse().unwrap(), &"trailers".parse().unwrap()));
        assert_eq!(headers.len(), 4, "{headers:?}");
    }

    #[test]
    fn the_asterisk_stays_what_is_asked_for() {
        let request = request(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", Scheme::Http).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::OPTIONS, "*"));
    }

    #[test]
    fn a_head_without_a_host_is_none() {
        assert!(request(b"GET / HTTP/1.1\r\n\r\n", Scheme::Http).is_none());
    }

    #[test]
    fn what_an_application_says_of_its_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("te", "x"), ("proxy-authenticate", "a"), ("proxy-authenticate", "b"), ("server", "s")] {
            headers.append(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["server"]);
    }

    #[test]
    fn trailers_may_have_as_many_fields_as_a_head() {
        let fields = |number: usize| -> HeaderMap {
            (0..number).map(|at| (format!("x-{at}").parse().unwrap(), HeaderValue::from_static("1"))).collect()
        };
        let mut most = fields(128);
        most.append(TE, HeaderValue::from_static("x"));
        most.remove("x-0");
        assert_eq!((trailers_to_client(&mut most), most.len()), (Ok(()), 127));
        assert_eq!(trailers_to_client(&mut fields(129)), Err(Malformed::Trailers));
    }
}
