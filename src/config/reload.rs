//! Settings that take the place of others while the gateway runs.

use std::fmt::Debug;

use super::{Config, Server, StorePlace};

impl Config {
    /// These settings as far as a running gateway can take them: what is made once, at the start, stays as it is `running`.
    /// Also the names of the tables and keys in which they differ from what runs and which are not taken.
    ///
    /// Secrets do not show in what is compared. One that is changed in `[store]`, `[jwt]` or `[signing]`, and nothing else
    /// there, is not taken and not told of.
    #[must_use]
    pub fn following(self, running: &Self) -> (Self, Vec<&'static str>) {
        let mut left = Vec::new();
        let mut keep = |name, same: bool| {
            if !same {
                left.push(name);
            }
        };
        let (server, was) = (&self.server, &running.server);
        keep("server.listen", alike(&server.listen, &was.listen));
        keep("server.ops_listen", alike(&server.ops_listen, &was.ops_listen));
        keep("server.tls", server.tls == was.tls);
        keep("server.redirect_listen", server.redirect_listen == was.redirect_listen);
        // A connection that was taken without a PROXY header would be its proxy's from then on.
        keep("server.proxy_protocol", server.proxy_protocol == was.proxy_protocol);
        keep("server.workers", server.workers == was.workers);
        keep("server.http2", server.http2 == was.http2);
        keep("server.max_connections", server.max_connections == was.max_connections);
        keep("server.unix_mode", server.unix_mode == was.unix_mode);
        let per_client = (server.max_connections_per_client, was.max_connections_per_client);
        keep("server.max_connections_per_client", per_client.0 == per_client.1);
        keep("limits", alike(&self.limits, &running.limits));
        keep("store", alike(&self.store, &running.store) && is_same_place(&self.store.place, &running.store.place));
        keep("cache", alike(&self.cache, &running.cache));
        keep("audit", alike(&self.audit, &running.audit));
        keep("jwt", alike(&self.jwt, &running.jwt));
        keep("signing", alike(&self.signing, &running.signing));
        keep("log", alike(&self.log, &running.log));
        let likeness = |config: &Self| config.rules.user_agent.map(|rule| rule.likeness);
        keep("policy.user_agent.mode", likeness(&self) == likeness(running));

        let mut rules = self.rules;
        if likeness(&self) != likeness(running) {
            rules.user_agent = running.rules.user_agent;
        }
        let server = Server {
            listen: was.listen.clone(),
            ops_listen: was.ops_listen.clone(),
            unix_mode: was.unix_mode,
            tls: was.tls.clone(),
            redirect_listen: was.redirect_listen.clone(),
            proxy_protocol: was.proxy_protocol,
            workers: was.workers,
            http2: was.http2,
            max_connections: was.max_connections,
            max_connections_per_client: was.max_connections_per_client,
            ..self.server
        };
        let Self { limits, store, cache, audit, jwt, signing, log, .. } = running.clone();
        (Self { server, limits, rules, store, cache, audit, jwt, signing, log, ..self }, left)
    }
}

fn alike(new: &impl Debug, running: &impl Debug) -> bool {
    format!("{new:?}") == format!("{running:?}")
}

/// The URL of a store does not show: it may hold a password.
fn is_same_place(new: &StorePlace, running: &StorePlace) -> bool {
    match (new, running) {
        (StorePlace::Sqlite { path: new }, StorePlace::Sqlite { path: running }) => new == running,
        (
            StorePlace::Postgres { url, pool_size, connect_timeout, ca_file },
            StorePlace::Postgres { url: its_url, pool_size: its_size, connect_timeout: its_timeout, ca_file: its_ca },
        ) => (url, pool_size, connect_timeout, ca_file) == (its_url, its_size, its_timeout, its_ca),
        (StorePlace::Sqlite { .. }, StorePlace::Postgres { .. })
        | (StorePlace::Postgres { .. }, StorePlace::Sqlite { .. }) => false,
    }
}
