//! A client of HTTP/2 that is not ours: hyper's.

use std::net::SocketAddr;
use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// What drives the connections of all tests.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// One connection.
pub struct Connection<B = Full<Bytes>> {
    requests: SendRequest<B>,
    host: String,
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

/// A response that is awaited.
pub struct Pending(JoinHandle<hyper::Result<Response>>);

impl Pending {
    /// Waits no longer: its stream is reset.
    pub fn give_up(self) {
        self.0.abort();
    }

    /// The whole response.
    pub fn wait(self) -> hyper::Result<Response> {
        RUNTIME.block_on(self.0).unwrap()
    }
}

impl<B> Connection<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Connects and begins with HTTP/2.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_from([127, 0, 0, 1], address)
    }

    /// The same from this address of this machine.
    pub fn open_from(own: [u8; 4], address: SocketAddr) -> Self {
        RUNTIME.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((own, 0).into()).unwrap();
            let stream = socket.connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (requests, connection) =
                http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Self { requests, host: address.to_string() }
        })
    }

    /// A request of this method to this path.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.host);
        Request::builder().method(method).uri(uri).header("user-agent", "acme-test/1.0")
    }

    /// Sends a request; others may be sent before its response is there.
    pub fn begin(&self, request: Request<B>) -> Pending {
        let mut requests = self.requests.clone();
        Pending(RUNTIME.spawn(async move {
            requests.ready().await?;
            whole(requests.send_request(request).await?).await
        }))
    }

    /// Sends a request and waits for the whole response.
    pub fn send(&self, request: Request<B>) -> Response {
        self.begin(request).wait().unwrap()
    }
}

async fn whole(response: hyper::Response<Incoming>) -> hyper::Result<Response> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok(Response { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes().to_vec(), trailers })
}
