//! session-gateway: a reverse proxy that gives unmodified web apps real sessions.
//!
//! A connection is accepted by a worker ([`edge`]), which reads its requests. [`gate`] is the life of a
//! request: one canonical target, the route, the credential, the session from the cache or the store, the policy, our
//! headers, and on to the application. What the gateway itself answers lies in [`api`]. Sessions are reached through
//! [`sessions`] alone, which keeps the cache and the [`store`] in step.
//!
//! The modules stand in the order of their layers; a module uses those above it and never those below.

// Words: no I/O, no runtime.
pub mod clock;
pub mod error;
pub mod policy;
pub mod session;
pub mod token;
pub mod user_agent;

// Tools on HTTP messages and tokens: pure functions. They come before the settings, which are read into their types.
pub mod http;
pub mod jwt;

// Settings and sight.
pub mod config;
pub mod deadline;
pub mod keyring;
pub mod log;
pub mod metrics;
pub mod outbound;
pub mod rates;
pub mod traces;

// The only SQL.
pub mod store;

// The only door to rows and cache.
pub mod sessions;

// The gateway's own endpoints.
pub mod api;

// The main line.
pub mod gate;

// The public side.
pub mod edge;

// The program.
pub mod app;
pub mod cli;
