//! Clients that speak HTTP/2, in front of an application that does not.

mod support;

#[path = "http2/carrying.rs"]
mod carrying;
#[path = "http2/hostile.rs"]
mod hostile;
#[path = "http2/limits.rs"]
mod limits;
