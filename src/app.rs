//! The whole gateway: built bottom-up, its named tasks spawned, and joined in reverse.

mod listening;
mod reload;

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use self::listening::Listening;
use self::reload::Reloading;
use crate::config::{self, AccessLog, AuditSettings, Config, Listen, StorePlace, StoreSettings};
use crate::deadline::Deadlines;
use crate::edge::listen::{Address, SocketFile};
use crate::edge::ops::Ops;
use crate::edge::tls::{Tls, TlsError};
use crate::edge::{Crowd, Worker};
use crate::gate::{Assertions, Current, Gate, Pool, Streams, Upstreams};
use crate::keyring::KeyRing;
use crate::log::access::AccessWriter;
use crate::metrics::{SharedMetrics, WorkerMetrics};
use crate::rates::Rates;
use crate::sessions::{self, Sessions, Sweeping};
use crate::store::{self, Hearing, Notify, PostgresSettings, SecretUrl, SqliteSettings, Store, StoreError};
use crate::traces::Traces;

/// Threads of the side runtime, which waits for the database and the operator, not for clients.
const SIDE_THREADS: usize = 2;
/// How long the first connections wait for the store. Without it the gateway serves what it can.
const STORE_WAIT: Duration = Duration::from_secs(1);
/// How long the side runtime may take to end its last calls.
const SIDE_SHUTDOWN: Duration = Duration::from_secs(1);

/// A running gateway.
#[derive(Debug)]
pub struct App {
    side: Runtime,
    /// Turns true when no new connection shall be taken …
    stop: watch::Sender<bool>,
    /// … and this one when the last request has ended, whose touches are then to be written.
    stop_tasks: watch::Sender<bool>,
    died: watch::Receiver<bool>,
    workers: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    access: Option<AccessWriter>,
    addresses: Vec<Address>,
    ops_address: Option<Address>,
    redirect_addresses: Vec<Address>,
    files: Vec<SocketFile>,
    tls: Option<Arc<Tls>>,
    reloading: Reloading,
}

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {}", hint(.source))]
    Listen {
        /// The setting.
        key: &'static str,
        /// The place.
        address: Listen,
        /// The cause.
        source: io::Error,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(TlsError),
    /// The store's settings cannot work.
    #[error("{}", crate::error::causes(.0))]
    Store(#[source] StoreError),
    /// The access log cannot be written.
    #[error("log.access: {} cannot be opened for writing: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The operating system gives no threads or the like.
    #[error("the gateway cannot be started: {0}")]
    System(#[from] io::Error),
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of errors are open; these have a hint of their own")]
fn hint(error: &io::Error) -> String {
    // What the operating system says has a number; the rest is our own words.
    if error.raw_os_error().is_none() {
        return error.to_string();
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use by another program".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

impl App {
    /// Starts a gateway. When this returns it accepts connections; its store may not be up yet.
    ///
    /// # Errors
    /// What is in the way; nothing is left running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        mention_guesses(&config);
        let count = workers(&config);
        let shared = Arc::new(SharedMetrics::default());
        let tls = tls(&config, &shared)?;
        let Listening { sockets, addresses, redirects, redirect_addresses, ops, files } =
            Listening::open(&config, count)?;
        let side = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SIDE_THREADS)
            .thread_name("side")
            .enable_all()
            .build()?;
        let (ops_listener, ops_address) = ops.unzip();
        let access = AccessWriter::start(&config.log.access).map_err(|source| match &config.log.access {
            AccessLog::File(path) => StartError::AccessLog { path: path.clone(), source },
            AccessLog::Off | AccessLog::Stdout => StartError::System(source),
        })?;

        let store = side.block_on(async { Store::open(&place(&config.store)) }).map_err(StartError::Store)?;
        store.claim().map_err(StartError::Store)?;
        let sessions = Sessions::new(store, side.handle().clone(), settings(&config), shared.clone());
        let (stop, stopping) = watch::channel(false);
        let (stop_tasks, tasks_stopping) = watch::channel(false);
        let (dying, died) = watch::channel(false);
        let upstreams = Arc::new(Upstreams::new(&config, count));
        shared.show_addresses(upstreams.metrics());
        let (stop_watching, watching_stopped) = watch::channel(false);
        let keys = KeyRing::new(&config.jwt, config.signing.as_ref(), shared.clone());
        let mut tasks = vec![
            side.spawn(sessions.clone().keep_store_up(tasks_stopping.clone())),
            side.spawn(sessions.clone().hear_others(hearing(&config.store), tasks_stopping.clone())),
            side.spawn(sessions.clone().follow_clock(tasks_stopping.clone())),
            side.spawn(sessions.clone().write_touches(tasks_stopping.clone())),
        ];
        if let Some(tls) = tls.clone() {
            tasks.push(side.spawn(tls.watch(stopping.clone())));
        }
        if config.max_sessions.enforce_on_reload {
            let limits = config.max_sessions.clone();
            let (stopping, superseded) = (tasks_stopping.clone(), watching_stopped.clone());
            tasks.push(side.spawn(sessions.clone().enforce_limits_at_start(limits, stopping, superseded)));
        }
        side.spawn(upstreams.clone().watch(watching_stopped));
        if let Some(sweeping) = sweeping(&config.audit) {
            // It stops with the listeners: what it does can wait, and requests in flight want the store to themselves.
            tasks.push(side.spawn(sessions.clone().sweep(sweeping, stopping.clone())));
        }
        if let Some(keys) = keys.clone() {
            let sessions = sessions.clone();
            tasks.push(side.spawn(keys.keep_fresh(tasks_stopping.clone(), move || sessions.forget_signed())));
        }
        let assertions = Arc::new(Assertions::new(config.signing.as_ref(), shared.clone()));
        let traces = Traces::new(&config.trace, count, shared.clone()).map_err(io::Error::other)?;
        let traces = Arc::new(traces);
        tasks.push(side.spawn(traces.clone().export(tasks_stopping.clone())));

        let metrics: Vec<Arc<WorkerMetrics>> = (0..count).map(|_| Arc::default()).collect();
        if let Some(listener) = ops_listener {
            let (workers, shared, sessions, stop) =
                (metrics.clone(), shared.clone(), sessions.clone(), stopping.clone());
            // It has no end of its own, and goes with the runtime.
            side.spawn(Ops { workers, shared, sessions, stop }.serve(listener));
        }
        // Connections wait in the kernel meanwhile: better than to be told that there is no store, which a restart would cause.
        side.block_on(async { timeout(STORE_WAIT, sessions.until_store_is_up()).await }).ok();
        let crowd = config.server.max_connections_per_client.map(|most| Arc::new(Crowd::new(most.get())));
        let rates = Arc::new(Rates::new(&config.limits));
        let mut workers = Vec::with_capacity(count);
        let mut gates = Vec::with_capacity(count);
        let sockets = sockets.into_iter().zip(redirects);
        let recorded = metrics.into_iter().zip(traces.recorders());
        for (number, ((listeners, redirects), (metrics, traces))) in sockets.zip(recorded).enumerate() {
            let gate = Arc::new(Current::new(Gate {
                config: config.clone(),
                sessions: sessions.clone(),
                keys: keys.clone(),
                rates: rates.clone(),
                assertions: assertions.clone(),
                pool: Pool::new(&upstreams, number),
                streams: Arc::new(Streams::default()),
                deadlines: Arc::new(Deadlines::default()),
                metrics,
                shared: shared.clone(),
                access: access.as_ref().map(|writer| Arc::new(writer.buffer(config.log.format, shared.clone()))),
                traces: traces.clone(),
                memo: ahash::RandomState::new(),
                generation: 0,
            }));
            // Each listener holds the place of the connection that it waits for.
            let max_connections = config.server.max_connections.div_ceil(count).max(listeners.len() + redirects.len());
            let tls = tls.clone();
            gates.push(gate.clone());
            let crowd = crowd.clone();
            let worker = Worker { gate, listeners, tls, redirects, crowd, max_connections, stop: stopping.clone() };
            workers.push(spawn(number, worker, dying.clone())?);
        }
        Ok(Self {
            side,
            stop,
            stop_tasks,
            died,
            workers,
            tasks,
            access,
            addresses,
            ops_address,
            redirect_addresses,
            files,
            tls,
            reloading: Reloading::new(config, sessions, shared, traces, gates, stop_watching, tasks_stopping),
        })
    }

    /// Where it listens, in the order of the settings.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the operator's listener is.
    pub const fn ops_address(&self) -> Option<&Address> {
        self.ops_address.as_ref()
    }

    /// Where it sends clients to https, in the order of the settings.
    pub fn redirect_addresses(&self) -> &[Address] {
        &self.redirect_addresses
    }

    /// Reads again what can change while the gateway runs: the files of certificates. It returns before that is done; what
    /// cannot be used is logged and leaves in force what there was.
    pub fn reload(&self) {
        if let Some(tls) = self.tls.clone() {
            self.side.spawn_blocking(move || tls.reload());
        }
    }

    /// Puts other settings in place. A request that has begun keeps those that it began with; the next one on the same
    /// connection has these. What is made once, at the start, stays as it is, and is told of in the log.
    pub fn adopt(&self, config: Config) {
        self.reloading.adopt(config, self.side.handle());
    }

    /// Counts settings that could not be put in place.
    pub fn reload_failed(&self) {
        self.reloading.failed();
    }

    /// Makes something that belongs to the side runtime, such as a signal handler.
    pub fn within<T>(&self, make: impl FnOnce() -> T) -> T {
        let _entered = self.side.enter();
        make()
    }

    /// Waits for `signal`, or for a worker that dies, which none should. Says whether it was the signal.
    pub fn wait(&self, signal: impl Future<Output = ()>) -> bool {
        let mut died = self.died.clone();
        self.side.block_on(async {
            tokio::select! {
                () = signal => true,
                _ = died.wait_for(|died| *died) => false,
            }
        })
    }

    /// Stops: listeners first, then requests in flight within the drain time, then the last uses of sessions and the
    /// last lines of the log.
    pub fn stop(self) {
        let Self { side, stop, stop_tasks, workers, tasks, access, files, reloading, .. } = self;
        // Before the listeners close: nobody shall find a file without a listener.
        drop(files);
        stop.send_replace(true);
        for worker in workers {
            // A panic of its own was logged by the panic hook.
            let _ = worker.join();
        }
        stop_tasks.send_replace(true);
        side.block_on(async {
            for task in tasks {
                let _ = task.await;
            }
        });
        // The log ends when nobody is left who writes to it.
        drop(reloading);
        if let Some(access) = access {
            access.finish();
        }
        side.shutdown_timeout(SIDE_SHUTDOWN);
    }
}

/// Says where the gateway takes a redirect for the application's word that the name in the form is the one who came in.
fn mention_guesses(config: &Config) {
    for upstream in &config.upstreams {
        for login in upstream.logins.iter().filter(|login| login.user.is_in_request() && login.sets_cookie.is_none()) {
            tracing::warn!(
                upstream = upstream.name,
                path = login.hook.path,
                "the user of this login is who the request says, whenever the application answers with success: make sure \
                 that it never does for a wrong password, nor for whoever is logged in already; sets_cookie, or a user \
                 that the answer names, leaves no doubt"
            );
        }
    }
}

fn spawn(number: usize, worker: Worker, dying: watch::Sender<bool>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let stop = worker.stop.clone();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
        if let Ok(Err(error)) = &ran {
            tracing::error!(%error, "a worker failed");
        }
        // A gateway with a dead worker loses a part of its connections without a word: better to stop and be restarted.
        if !*stop.borrow() {
            dying.send_replace(true);
        }
    })
}

fn workers(config: &Config) -> usize {
    config.server.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What the public listeners speak TLS with, and a word on what is not as it should be.
fn tls(config: &Config, shared: &Arc<SharedMetrics>) -> Result<Option<Arc<Tls>>, StartError> {
    let Some(settings) = &config.server.tls else { return Ok(None) };
    let tls = Tls::load(settings, config.server.http2, shared.clone()).map_err(StartError::Tls)?;
    for remark in tls.remarks() {
        tracing::warn!("{remark}");
    }
    Ok(Some(Arc::new(tls)))
}

/// The store's settings in the form that the store takes.
pub fn place(settings: &StoreSettings) -> store::Settings {
    match &settings.place {
        StorePlace::Sqlite { path } => {
            store::Settings::Sqlite(SqliteSettings { path: path.clone(), exclusive: true, timeout: settings.timeout })
        }
        StorePlace::Postgres { url, pool_size, connect_timeout, ca_file } => {
            store::Settings::Postgres(PostgresSettings {
                url: SecretUrl::new(url),
                pool_size: u32::try_from(*pool_size).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
                connect_timeout: *connect_timeout,
                timeout: settings.timeout,
                ca_file: ca_file.clone(),
                notify: hearing(settings).notify,
            })
        }
    }
}

fn hearing(settings: &StoreSettings) -> Hearing {
    let notify = match settings.hearing.notify {
        config::Notify::Listen => Notify::Listen,
        config::Notify::Poll => Notify::Poll,
        config::Notify::Off => Notify::Off,
    };
    Hearing { notify, poll_interval: settings.hearing.poll_interval }
}

/// What the sweeper needs to know; `None` when there is to be none.
fn sweeping(audit: &AuditSettings) -> Option<Sweeping> {
    let AuditSettings { keep_per_user, keep_for, sweep_interval } = *audit;
    Some(Sweeping { interval: sweep_interval?, keep_for, keep_per_user })
}

fn settings(config: &Config) -> sessions::Settings {
    sessions::Settings {
        rules: config.rules,
        capacity: config.cache.capacity,
        ttl: config.cache.ttl,
        negative_ttl: config.cache.negative_ttl,
        serve_while_store_down: config.cache.serve_while_store_down,
        touch_interval: config.session.touch_interval,
        on_exceed: config.max_sessions.on_exceed,
        token_bytes: config.token.bytes,
        migrate: config.store.migrate,
    }
}
