//! Tools on HTTP messages: functions that look at a request or build an answer, and do no I/O.
//!
//! Every header name of the gateway is below this module.
//!
//! - [`target`]: the one canonical request target, for matching and for forwarding.
//! - [`host`]: the one canonical host that a request is for, and the patterns that it is compared with.
//! - [`credential`]: which part of a request is its session token, and how it is kept from the application.
//! - [`client`]: who is calling, seen through the proxies that are trusted.
//! - [`cookie`]: reading, removing, setting and clearing one cookie.
//! - [`problem`]: the answer to a request that failed.
//! - [`returning`]: the way to the login page and back.

pub mod client;
pub mod cookie;
pub mod credential;
pub mod host;
pub mod problem;
pub mod returning;
pub mod target;

pub use self::client::{Caller, Scheme, TrustedProxies};
pub use self::host::{Host, HostPattern};
pub use self::returning::{Appetite, LoginPage};
pub use self::target::Target;
