//! Tools on HTTP messages: functions that look at a request or build an answer, and do no I/O.
//!
//! Every header name of the gateway is below this module.
//!
//! - [`target`]: the one canonical request target, for matching and for forwarding.
//! - [`credential`]: which part of a request is its session token, and how it is kept from the application.
//! - [`cookie`]: reading, removing, setting and clearing one cookie.

pub mod cookie;
pub mod credential;
pub mod target;

pub use self::target::Target;
