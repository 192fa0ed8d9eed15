//! Connections.
//!
//! Owns: opening them (name, credentials, socket settings), the one that all short commands share, and knowing whether Redis is there.
//! Never: a blocking read on the shared connection; a command sent twice by itself (who asked decides that, for not every command
//! may be repeated).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisConnectionInfo, RedisFuture, RedisResult,
    ScriptInvocation, Value,
};
use tokio::sync::{Mutex, watch};

use super::address::Address;
use super::error::{BrokerError, Trouble};
use super::parting;
use super::stream::{self, Stream};
use crate::supervisor::attendant::{Attendant, attend};
use crate::telemetry::Telemetry;
use crate::telemetry::event::{Reconnected, RedisAway, RedisBack};
use crate::tls::Tls;

pub(super) const CONNECTING: &str = "connecting";
/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a command on the shared connection may take. No command there blocks.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pauses after a refused login.
const REFUSED_MIN: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(30);

/// Opens connections to one server, and knows whether that works.
#[derive(Debug)]
pub struct Connector {
    address: Address,
    tls: Option<Tls>,
    name: String,
    availability: watch::Sender<Availability>,
    refused: std::sync::Mutex<Option<Refused>>,
    /// How many connections were opened so far.
    opened: AtomicU64,
    telemetry: Telemetry,
}

/// The server did not let us in; asking again and again would only lock the account or fill its log.
#[derive(Debug, Clone)]
struct Refused {
    error: BrokerError,
    again_at: Instant,
    pause: Duration,
}

/// Whether Redis is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// Nobody has asked yet.
    Unknown,
    /// The last word was good.
    Up,
    /// Since then it is away, for this reason.
    Away {
        /// Since when.
        since: Instant,
        /// Why, in the words of the first failure.
        reason: String,
        /// Whether not even a connection could be had. Then only a new connection is a sign of life: an answer may have been on its way.
        unreachable: bool,
    },
}

/// A connection, and what drives it: that ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    commands: MultiplexedConnection,
    _driver: Attendant,
}

impl Connection {
    pub(super) async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        self.commands.subscribe(channels).await
    }

    pub(super) async fn psubscribe(&mut self, patterns: &[String]) -> RedisResult<()> {
        self.commands.psubscribe(patterns).await
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.commands.req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.commands.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.commands.get_db()
    }
}

impl Connector {
    /// A connector to `address`. Its connections show as `orderd:<instance>:<role>` in `CLIENT LIST`. An error: the address asks for
    /// TLS as the host is set up for it, and it is not.
    pub fn new(address: Address, instance: &str, telemetry: Telemetry) -> Result<Self, BrokerError> {
        let tls = address.tls().map_err(|error| BrokerError::of_stream("reading the address", &error))?;
        let (availability, _) = watch::channel(Availability::Unknown);
        // A space would end the name.
        let name = format!("orderd:{}", instance.replace(|c: char| !c.is_ascii_graphic(), "-"));
        Ok(Self {
            address,
            tls,
            name,
            availability,
            refused: std::sync::Mutex::new(None),
            opened: AtomicU64::new(0),
            telemetry,
        })
    }

    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Follows whether Redis is there.
    pub fn availability(&self) -> watch::Receiver<Availability> {
        self.availability.subscribe()
    }

    /// Opens a connection. The library's own set-up reports a wrong password without the server's word for it, so the
    /// credentials are presented here.
    pub(super) async fn open(
        &self,
        role: &'static str,
        response_timeout: Option<Duration>,
    ) -> Result<Connection, BrokerError> {
        self.opening(self.open_untimed(role, response_timeout)).await
    }

    /// Opens a connection on which the server speaks without being asked. What it says goes to `heard`, which must not block: the
    /// socket is not read meanwhile.
    pub(super) async fn open_for_pushes(
        &self,
        role: &'static str,
        heard: impl AsyncPushSender,
    ) -> Result<Connection, BrokerError> {
        self.opening(self.open_untimed_for_pushes(role, heard)).await
    }

    pub(super) async fn opening<T>(
        &self,
        open: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        if let Some(error) = self.still_refused() {
            return Err(error);
        }
        let opened_before = self.opened.load(Ordering::Acquire);
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, open).await;
        let mut opened = opened.unwrap_or_else(|_| Err(BrokerError::timed_out(CONNECTING)));
        if let Err(BrokerError { trouble: Trouble::Unreachable(_), .. }) = opened
            && let Some(word) = parting::word(CONNECTING, self.address.place(), self.tls.as_ref()).await
        {
            opened = Err(word);
        }
        // One that began before another one succeeded tells of a time that is over.
        let is_stale = opened.is_err() && self.opened.load(Ordering::Acquire) != opened_before;
        if opened.is_ok() {
            self.opened.fetch_add(1, Ordering::AcqRel);
        }
        if !is_stale {
            self.take_note(opened.as_ref().err(), true);
        }
        self.note_refusal(opened.as_ref().err());
        opened
    }

    /// The last refusal, while it is too early to ask again.
    fn still_refused(&self) -> Option<BrokerError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|refused| Instant::now() < refused.again_at).map(|refused| refused.error.clone())
    }

    fn note_refusal(&self, error: Option<&BrokerError>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = error.filter(|error| matches!(error.trouble, Trouble::Denied(_))).map(|error| {
            let pause = refused.as_ref().map_or(REFUSED_MIN, |refused| (refused.pause * 2).min(REFUSED_MAX));
            Refused { error: error.clone(), again_at: Instant::now() + pause, pause }
        });
    }

    async fn open_untimed(&self, role: &str, response_timeout: Option<Duration>) -> Result<Connection, BrokerError> {
        let failed = |error: &redis::RedisError| BrokerError::new(CONNECTING, error);
        let config = AsyncConnectionConfig::new().set_response_timeout(response_timeout);
        let mut connection = self.connection(&Address::without_credentials(), config).await?;
        for command in self.address.login() {
            command.query_async::<()>(&mut connection).await.map_err(|error| failed(&error))?;
        }
        self.introduce(connection, role).await
    }

    /// Pushes need RESP3, and the library wants to agree on that itself. With it comes the server's own word for a wrong password.
    async fn open_untimed_for_pushes(
        &self,
        role: &str,
        heard: impl AsyncPushSender,
    ) -> Result<Connection, BrokerError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT)).set_push_sender(heard);
        let connection = self.connection(&self.address.with_credentials_and_pushes(), config).await?;
        self.introduce(connection, role).await
    }

    /// A way to the server, with nothing said on it yet.
    pub(super) async fn stream(&self) -> Result<Stream, BrokerError> {
        let stream = stream::open(self.address.place(), self.tls.as_ref()).await;
        stream.map_err(|error| BrokerError::of_stream(CONNECTING, &error))
    }

    async fn connection(
        &self,
        first: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Connection, BrokerError> {
        let opened = MultiplexedConnection::new_with_config(first, self.stream().await?, config).await;
        let (commands, driver) = opened.map_err(|error| BrokerError::new(CONNECTING, &error))?;
        Ok(Connection { commands, _driver: attend(driver) })
    }

    /// Makes sure that the server works, and gives the new connection its name.
    async fn introduce(&self, mut connection: Connection, role: &str) -> Result<Connection, BrokerError> {
        let failed = |error: &redis::RedisError| BrokerError::new(CONNECTING, error);
        for courtesy in self.courtesies(role) {
            if let Err(error) = courtesy.query_async::<()>(&mut connection).await {
                let error = failed(&error);
                if !matches!(error.trouble, Trouble::NoPermission(_)) {
                    return Err(error);
                }
            }
        }
        Ok(connection)
    }

    /// A server that is loading, or follows a primary that is gone, takes connections and says so to the first. The second is for people
    /// who look. A user without the right to either works all the same.
    pub(super) fn courtesies(&self, role: &str) -> [Cmd; 2] {
        [redis::cmd("PING"), redis::cmd("CLIENT").arg("SETNAME").arg(format!("{}:{role}", self.name)).to_owned()]
    }

    /// Takes note of how a command went on a connection that is opened again where it broke: then whether Redis is away shows when the
    /// next one is opened.
    pub(super) fn note_answer(&self, error: Option<&BrokerError>) {
        if !error.is_some_and(|error| matches!(error.trouble, Trouble::Unreachable(_) | Trouble::Reply)) {
            self.note(error);
        }
    }

    /// Takes note of how a command went. Says something only when that is news.
    pub(super) fn note(&self, error: Option<&BrokerError>) {
        self.take_note(error, false);
    }

    fn take_note(&self, error: Option<&BrokerError>, opened: bool) {
        let now = Instant::now();
        let away = error.filter(|error| error.is_away());
        if away.is_none() && *self.availability.borrow() == Availability::Up {
            return;
        }
        self.availability.send_if_modified(|availability| match (&*availability, away) {
            (Availability::Away { .. }, Some(_)) => false,
            (Availability::Away { unreachable: true, .. }, None) if !opened => false,
            (_, Some(error)) => {
                let reason = error.reason();
                let unreachable = opened || matches!(error.trouble, Trouble::Unreachable(_));
                self.telemetry.emit(RedisAway { reason: &reason });
                *availability = Availability::Away { since: now, reason, unreachable };
                true
            }
            (before, None) => {
                if let Availability::Away { since, .. } = before {
                    self.telemetry.emit(RedisBack { after: now.duration_since(*since) });
                }
                *availability = Availability::Up;
                true
            }
        });
    }

    /// A connection was made anew.
    pub(crate) fn reconnected(&self, connection: &'static str) {
        self.telemetry.emit(Reconnected { connection });
    }
}

/// The connection that all short commands share. It is opened when it is needed, and again after it broke.
#[derive(Debug)]
pub(super) struct Commands {
    connector: Arc<Connector>,
    current: Mutex<Option<(u64, Connection)>>,
    opened: AtomicU64,
}

impl Commands {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, current: Mutex::new(None), opened: AtomicU64::new(0) }
    }

    /// Sends one command.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T, BrokerError> {
        let (generation, mut connection) = self.connection().await?;
        let reply = command.query_async(&mut connection).await;
        self.finish(operation, generation, reply).await
    }

    /// Sends several commands at once, outside of a transaction: an error of one is a value among the others.
    pub(super) async fn pipeline(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, BrokerError> {
        let (generation, mut connection) = self.connection().await?;
        let reply = pipeline.query_async(&mut connection).await;
        self.finish(operation, generation, reply).await
    }

    /// Runs a script.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, BrokerError> {
        let (generation, mut connection) = self.connection().await?;
        let reply = script.invoke_async(&mut connection).await;
        self.finish(operation, generation, reply).await
    }

    async fn connection(&self) -> Result<(u64, Connection), BrokerError> {
        let mut current = self.current.lock().await;
        if let Some((generation, connection)) = &*current {
            return Ok((*generation, connection.clone()));
        }
        let opened = self.connector.open("commands", Some(RESPONSE_TIMEOUT)).await?;
        let generation = self.opened.fetch_add(1, Ordering::Relaxed);
        if generation > 0 {
            self.connector.reconnected("commands");
        }
        *current = Some((generation, opened.clone()));
        Ok((generation, opened))
    }

    async fn finish<T>(
        &self,
        operation: &'static str,
        generation: u64,
        reply: RedisResult<T>,
    ) -> Result<T, BrokerError> {
        let reply = reply.map_err(|error| BrokerError::new(operation, &error));
        if let Err(error) = &reply
            && error.breaks_connection()
        {
            let mut current = self.current.lock().await;
            if current.as_ref().is_some_and(|(of, _)| *of == generation) {
                *current = None;
            }
        }
        self.connector.note_answer(reply.as_ref().err());
        reply
    }
}
