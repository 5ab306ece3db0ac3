//! An application that speaks HTTP/2, on the h2 library, so that a test has each frame's meaning in its hands.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What drives the applications of all tests.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A request as it reached the application.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// Which connection it came on: 1 is the first.
    pub connection: usize,
}

/// A request's body and the way to answer.
pub struct Exchange {
    pub received: Received,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
}

/// A running application.
pub struct Http2App {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    leave: watch::Sender<usize>,
}

impl Http2App {
    /// One that does this with each request.
    pub fn start<F>(answer: impl Fn(Exchange) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Self {
            address,
            received: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            leave: watch::Sender::new(0),
        };
        let (received, connections, open) = (app.received.clone(), app.connections.clone(), app.open.clone());
        let leave = app.leave.subscribe();
        RUNTIME.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                open.fetch_add(1, Ordering::SeqCst);
                let (received, answer, open, mut leave) =
                    (received.clone(), answer.clone(), open.clone(), leave.clone());
                leave.mark_unchanged();
                tokio::spawn(async move {
                    if let Ok(mut connection) = h2::server::handshake(stream).await {
                        loop {
                            let accepted = tokio::select! {
                                accepted = connection.accept() => accepted,
                                Ok(()) = leave.changed() => {
                                    connection.graceful_shutdown();
                                    continue;
                                }
                            };
                            let Some(Ok((request, respond))) = accepted else { break };
                            let (head, body) = request.into_parts();
                            let this = Received {
                                method: head.method,
                                uri: head.uri,
                                headers: head.headers,
                                connection: number,
                            };
                            received.lock().unwrap().push(this.clone());
                            tokio::spawn(answer(Exchange { received: this, body, respond }));
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        app
    }

    /// One that answers 200 `hello` to everything.
    pub fn hello() -> Self {
        Self::start(|mut exchange| async move { exchange.answer(200, &[], b"hello") })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.received.lock().unwrap().clear();
    }

    /// The last request.
    pub fn last(&self) -> Received {
        self.received().pop().expect("no request reached the application")
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Says GOAWAY on every connection, and serves what is on its way.
    pub fn leave(&self) {
        self.leave.send_modify(|times| *times += 1);
    }
}

impl Exchange {
    /// A whole response.
    pub fn answer(&mut self, status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Result<(), h2::Error> {
        let mut stream = self.respond.send_response(head(status, headers), body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        Ok(())
    }

    /// The next piece of the request's body.
    pub async fn piece(&mut self) -> Option<Bytes> {
        let piece = self.body.data().await?.ok()?;
        self.body.flow_control().release_capacity(piece.len()).unwrap();
        Some(piece)
    }

    /// All of the request's body.
    pub async fn whole(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await {
            whole.extend_from_slice(&piece);
        }
        whole
    }

    /// Says that nothing was done about it.
    pub fn refuse(&mut self) {
        self.respond.send_reset(Reason::REFUSED_STREAM);
    }
}

/// The head of a response.
pub fn head(status: u16, headers: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap()
}

/// Trailers.
pub fn trailers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

/// A client's connection of the same library, with each piece in the test's hands.
pub struct Client {
    requests: h2::client::SendRequest<Bytes>,
    host: String,
}

impl Client {
    pub fn open(address: SocketAddr) -> Self {
        let requests = RUNTIME.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            requests
        });
        Self { requests, host: address.to_string() }
    }

    pub fn request(&self, method: &str, path: &str, token: &str) -> Request<()> {
        let uri = format!("http://{}{path}", self.host);
        let request = Request::builder().method(method).uri(uri).header("user-agent", super::gateway::AGENT);
        request.header("authorization", format!("Bearer {token}")).body(()).unwrap()
    }

    /// Begins a request, whose body is sent piece by piece.
    pub fn begin(&mut self, request: Request<()>, ends: bool) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        RUNTIME.block_on(async {
            std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await.unwrap();
            self.requests.send_request(request, ends).unwrap()
        })
    }
}

/// Waits for something of [`Client`].
pub fn wait<F: Future>(future: F) -> F::Output {
    RUNTIME
        .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(10), future).await })
        .expect("it takes longer than ten seconds")
}
