//! What integration tests share. A test takes it in with `mod support;`.
#![allow(dead_code, unreachable_pub, reason = "every test uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

pub mod postgres;
