//! `[audit]`: how long what is over is kept.

use std::time::Duration;

use super::reader::Table;

/// How long what is over is kept, and how often it is looked for.
#[derive(Clone, Copy, Debug)]
pub struct AuditSettings {
    /// How many ended sessions of one user stay, unless the user's own row says otherwise; `None` is all.
    pub keep_per_user: Option<u32>,
    /// How long ended and expired sessions stay, and events; `None` is for ever.
    pub keep_for: Option<Duration>,
    /// How often the store is swept; `None` is never.
    pub sweep_interval: Option<Duration>,
}

/// A day: what is kept for days need not be looked for less often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

pub(super) fn read(mut table: Table) -> AuditSettings {
    AuditSettings {
        keep_per_user: table.get("keep_per_user", None, |value| {
            if value.as_str() == Some("all") {
                return Ok(None);
            }
            // The bound is that of the users' own column.
            let number =
                value.to_i128().and_then(|number| i32::try_from(number).ok()).and_then(|n| u32::try_from(n).ok());
            number.map(Some).ok_or_else(|| "must be \"all\" or a whole number; 0 keeps none".to_owned())
        }),
        keep_for: table.time("keep_for", Some(Duration::from_secs(90 * 24 * 3600))),
        sweep_interval: table.get("sweep_interval", Some(Duration::from_secs(60)), |value| {
            let interval = super::reader::duration(value)?;
            if interval.is_some_and(|interval| interval > LONGEST_INTERVAL) {
                return Err("must be a day at most; \"0\" never sweeps".to_owned());
            }
            Ok(interval)
        }),
    }
}
