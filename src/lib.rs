//! session-gateway.
pub mod clock;
pub mod error;
pub mod http;
pub mod policy;
pub mod session;
pub mod store;
pub mod token;
pub mod user_agent;
