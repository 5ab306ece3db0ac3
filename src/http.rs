//! Tools on HTTP messages: functions that look at a request or build an answer, and do no I/O.
//!
//! Every header name of the gateway is below this module.
//!
//! - [`target`]: the one canonical request target, for matching and for forwarding.
//! - [`host`]: the one canonical host that a request is for, and the patterns that it is compared with.
//! - [`credential`]: which part of a request is its session token, and how it is kept from the application.
//! - [`client`]: who is calling, seen through the proxies that are trusted.
//! - [`forwarding`]: what changes in a message's headers on its way through.
//! - [`identity`]: the headers that tell the application who is calling.
//! - [`cookie`]: reading, removing, setting and clearing one cookie.

pub mod client;
pub mod cookie;
pub mod credential;
pub mod forwarding;
pub mod host;
pub mod identity;
pub mod target;

pub use self::client::{Caller, Scheme, TrustedProxies};
pub use self::host::{Host, HostPattern};
pub use self::target::Target;
