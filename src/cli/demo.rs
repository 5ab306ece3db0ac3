//! `demo`: the gateway in front of a small sample app.

use std::process::ExitCode;

use super::say;

pub(super) fn run(_listen: Option<String>) -> ExitCode {
    say("demo");
    ExitCode::FAILURE
}
