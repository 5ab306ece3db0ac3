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

#[cfg(test)]
mod tests {
    use figment::providers::{Format as _, Toml};

    use super::*;
    use crate::config::reader::Faults;

    fn read(toml: &str) -> (AuditSettings, Vec<String>) {
        let figment = figment::Figment::from(Toml::string(toml));
        let faults = Faults::new(figment.clone());
        let settings = super::read(Table::root(figment.extract().unwrap(), faults.clone()));
        (settings, faults.take().into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn how_many_are_kept_is_a_word_or_a_number_and_the_number_may_be_none() {
        for (toml, expected) in [
            ("", None),
            ("keep_per_user = \"all\"", None),
            ("keep_per_user = 0", Some(0)),
            ("keep_per_user = 2147483647", Some(2_147_483_647)),
        ] {
            let (settings, faults) = read(toml);
            assert_eq!((settings.keep_per_user, faults), (expected, Vec::new()), "{toml}");
        }
        for toml in
            ["keep_per_user = -1", "keep_per_user = \"none\"", "keep_per_user = 2147483648", "keep_per_user = \"3\""]
        {
            let (_, faults) = read(toml);
            assert_eq!(faults, ["must be \"all\" or a whole number; 0 keeps none"], "{toml}");
        }
    }

    #[test]
    fn for_ever_and_never_are_zero_and_a_sweep_is_never_further_off_than_a_day() {
        let (settings, faults) = read("keep_for = \"0\"\nsweep_interval = \"0\"");
        assert_eq!((settings.keep_for, settings.sweep_interval, faults), (None, None, Vec::new()));
        assert_eq!(read("sweep_interval = \"25h\"").1, ["must be a day at most; \"0\" never sweeps"]);
    }
}
