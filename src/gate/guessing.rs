//! Credentials that are none: how many of them one client may present.

use std::net::IpAddr;
use std::time::Duration;

use super::Gate;
use super::exchange::Exchange;
use crate::error::Problem;

/// The mark of an answer to a client that does something too often. Whoever sends it takes nothing more from that client for
/// [`UNHURRIED`]: who asks as fast as it is refused costs next to nothing then. Trusted proxies speak for others, and are spared.
#[derive(Clone, Copy, Debug)]
pub struct Unhurried;

/// For how long.
pub const UNHURRIED: Duration = Duration::from_secs(1);

/// The answer to a credential that is none of ours: where there have been many from one client, that it has to wait. What
/// memory knows never comes here, good or bad.
pub(super) fn refused<T>(gate: &Gate, client_ip: IpAddr, exchange: &Exchange, problem: Problem) -> Result<T, Problem> {
    let may = may(gate, client_ip, exchange);
    gate.rates.guessed_token(client_ip, exchange.began.uptime);
    may.and(Err(problem))
}

/// Whether the client may present another credential that is not known. Trusted proxies may: what comes from their own
/// address comes from everybody behind them.
pub(super) fn may(gate: &Gate, client_ip: IpAddr, exchange: &Exchange) -> Result<(), Problem> {
    if gate.config.server.trusted_proxies.trusts(Some(client_ip)) {
        return Ok(());
    }
    gate.rates.may_guess_token(client_ip, exchange.began.uptime)
}
