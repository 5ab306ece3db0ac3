//! Clients that speak HTTP/2, in front of an application that does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "http2/carrying.rs"]
mod carrying;
#[path = "http2/holding.rs"]
mod holding;
#[path = "http2/hostile.rs"]
mod hostile;
#[path = "http2/interim.rs"]
mod interim;
#[path = "http2/limits.rs"]
mod limits;
#[path = "http2/places.rs"]
mod places;
