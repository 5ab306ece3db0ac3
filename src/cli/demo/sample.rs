//! The app of the demo. It knows nothing of the gateway: it has a login form, and reads who is calling from headers.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::pages;
use crate::http::fields::form_field;
use crate::http::returning::is_local;

/// Who may log in, with which password.
const USERS: [(&str, &str); 2] = [("ann", "demo"), ("bob", "demo")];
/// The largest login form.
const MAX_FORM: usize = 16 * 1024;

/// The running app; dropping it stops it.
#[derive(Debug)]
pub(super) struct SampleApp {
    address: SocketAddr,
    // Held for its drop, which ends the app.
    _runtime: Runtime,
}

impl SampleApp {
    /// Starts the app on a free port of this machine alone: who could reach it directly could be anybody.
    ///
    /// # Errors
    /// When there is no port or no thread to be had.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sample-app")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener));
        Ok(Self { address, _runtime: runtime })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer_always));
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection to the sample app ended early");
                    }
                });
            }
            // "Too many open files" does not go away by trying again at once.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer_always(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    Ok(match (&parts.method, path) {
        (&Method::GET | &Method::HEAD, "/") => html(StatusCode::OK, pages::home(&parts.headers)),
        (&Method::GET | &Method::HEAD, "/hello.json") => {
            respond(StatusCode::OK, "application/json", pages::hello(&identity(&parts.headers)))
        }
        (&Method::GET | &Method::HEAD, "/login") => {
            html(StatusCode::OK, pages::login(&way_back(query.as_bytes()), None))
        }
        (&Method::POST, "/login") => match Limited::new(body, MAX_FORM).collect().await {
            Ok(form) => log_in(&form.to_bytes()),
            Err(_) => html(StatusCode::BAD_REQUEST, pages::login("/", Some("The form could not be read."))),
        },
        // The gateway ends the session when it sees this succeed; the app has nothing to forget.
        (&Method::POST, "/logout") => redirect("/login"),
        (&Method::GET | &Method::HEAD, "/static/style.css") => {
            respond(StatusCode::OK, "text/css; charset=utf-8", pages::STYLE.to_owned())
        }
        (&Method::GET | &Method::HEAD, "/static/sessions.js") => {
            respond(StatusCode::OK, "text/javascript; charset=utf-8", pages::SCRIPT.to_owned())
        }
        (_, "/" | "/hello.json" | "/static/style.css" | "/static/sessions.js") => not_allowed("GET, HEAD"),
        (_, "/login") => not_allowed("GET, HEAD, POST"),
        (_, "/logout") => not_allowed("POST"),
        _ => html(StatusCode::NOT_FOUND, pages::not_found()),
    })
}

fn log_in(form: &[u8]) -> Response<Full<Bytes>> {
    let user = form_field(form, "username").unwrap_or_default();
    let password = form_field(form, "password").unwrap_or_default();
    let next = way_back(form);
    if USERS.contains(&(user.as_str(), password.as_str())) {
        redirect(&next)
    } else {
        html(StatusCode::OK, pages::login(&next, Some("Unknown user name or wrong password.")))
    }
}

/// Where to go after the login: a path of this site, or the front page. Anything else would make the form a means to
/// send people elsewhere.
fn way_back(pairs: &[u8]) -> String {
    form_field(pairs, "next").filter(|next| is_local(next)).unwrap_or_else(|| "/".to_owned())
}

/// The headers that say who is calling.
fn identity(headers: &HeaderMap) -> Vec<(&HeaderName, &HeaderValue)> {
    // Every letter case and separator, so that a forged copy would show.
    let is_identity = |name: &HeaderName| name.as_str().replace(['_', '.'], "-").starts_with("x-auth-");
    headers.iter().filter(|(name, _)| is_identity(name)).collect()
}

fn redirect(to: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    response
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = html(StatusCode::METHOD_NOT_ALLOWED, pages::not_found());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn html(status: StatusCode, page: String) -> Response<Full<Bytes>> {
    let mut response = respond(status, "text/html; charset=utf-8", page);
    // Nothing from elsewhere, and nothing inline.
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn respond(status: StatusCode, media: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(form: &str) -> Option<String> {
        let response = log_in(form.as_bytes());
        response.headers().get(LOCATION).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_login_leads_back_to_where_it_came_from_but_never_off_the_site() {
        for (next, to) in [
            ("%2Fhello.json%3Fa%3D1", "/hello.json?a=1"),
            ("", "/"),
            ("%2F%2Fevil.test", "/"),
            ("%2F%5Cevil.test", "/"),
            ("https%3A%2F%2Fevil.test", "/"),
            ("%2Fa%0D%0ASet-Cookie%3A%20b%3Dc", "/"),
        ] {
            let form = format!("username=ann&password=demo&next={next}");
            assert_eq!(location(&form).as_deref(), Some(to), "{next}");
        }
    }

    #[test]
    fn a_wrong_password_gets_the_form_again() {
        for form in ["username=ann&password=wrong", "username=eve&password=demo", "", "password=demo"] {
            assert_eq!(log_in(form.as_bytes()).status(), StatusCode::OK, "{form}");
            assert_eq!(location(form), None, "{form}");
        }
    }
}
