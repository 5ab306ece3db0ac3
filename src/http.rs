//! Tools on HTTP messages: functions that look at a request or build an answer, and do no I/O.
//!
//! Every header name of the gateway is below this module.
//!
//! What is asked of every request borrows from it, and allocates only where something has to be changed:
//!
//! - [`method`]: the methods that are taken in, each in the one spelling that everybody reads alike.
//! - [`target`]: the one canonical request target. The router matches and the upstream gets the same bytes; what two
//!   programs may read differently is refused.
//! - [`host`]: the one canonical host that a request is for, and the patterns of the configuration that it is compared
//!   with.
//! - [`client`]: who is calling. The TCP peer, or what the proxies say that the operator trusts.
//! - [`credential`]: which part of a request is its session token, and how it is kept from the application. [`cookie`]
//!   is its half about cookies: reading, removing, setting and clearing one.
//! - [`forwarding`]: what changes in a message's headers on its way through.
//! - [`response`]: where the head of an application's response ends, how long its body is, and its pieces.
//! - [`identity`]: the headers that tell the application who is calling.
//! - [`trace_context`]: the headers by which a request is known beyond one program.
//!
//! What is asked of some:
//!
//! - [`problem`]: the answer to a request that failed, for every code the same way.
//! - [`returning`]: whether a refused client wants to be led to the login, and the way there and back.
//! - [`client_hints`]: what a browser says about its device beside its User-Agent.
//! - [`fields`]: the name of the user in the body of a login, if it can be read in one way only.
//! - [`origin`]: from which site a browser's request comes.
//! - [`websocket`]: the request to open one, the application's consent, and where its frames end.
//! - [`proxy_line`]: the PROXY protocol, in which a proxy in front introduces its client.
//! - [`http2`]: the head of a request in the form in which an application gets it over HTTP/2.
//! - [`original`]: the request that a proxy asks about, from what the proxy says of it.

pub mod client;
pub mod client_hints;
pub mod cookie;
pub mod credential;
pub mod fields;
pub mod forwarding;
pub mod framing;
pub mod host;
pub mod http2;
pub mod identity;
pub mod method;
pub mod origin;
pub mod original;
mod places;
pub mod problem;
pub mod proxy_line;
pub mod reply;
pub mod request;
pub mod response;
pub mod returning;
pub mod target;
pub mod trace_context;
pub mod websocket;

pub use self::client::{Caller, Scheme, TrustedProxies};
pub use self::host::{Host, HostPattern};
pub use self::origin::SiteOrigin;
pub use self::original::Original;
pub use self::returning::{Appetite, LoginPage};
pub use self::target::Target;
