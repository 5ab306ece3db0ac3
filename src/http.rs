//! Tools on HTTP messages: functions that look at a request or build an answer, and do no I/O.
//!
//! Every header name of the gateway is below this module.
//!
//! - [`target`]: the one canonical request target, for matching and for forwarding.

pub mod target;

pub use self::target::Target;
