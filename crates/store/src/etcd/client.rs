//! Calls to an etcd cluster, whichever of its members answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch as latest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::grpc::{self, Messages, RpcError, code};
use super::login::{self, EtcdUser, Login};
use super::options::{EtcdOptions, EtcdOptionsError};
use super::transport::{Connection, Transport};
use super::value::Values;
use super::wire::{self, Answered, Call, Header, unsigned};

/// After this long another member is asked.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// For a call that cannot be repeated: longer than etcd itself waits for its other members.
const ONLY_ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// After this long the caller is told.
const CALL_LIMIT: Duration = Duration::from_secs(15);
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(20);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether a call may be sent again when its outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or nothing more the second time.
    Always,
    /// Only when etcd surely has not carried it out.
    Unsent,
}

/// The cluster as a whole.
pub(super) struct Client {
    transport: Transport,
    /// Absent: this program has no name for etcd but that in its certificate.
    login: Option<Login>,
    connection: Mutex<Option<Connection>>,
    /// The newest revision any answer has told.
    revision: AtomicU64,
    /// Which cluster has answered first; 0 before.
    cluster: AtomicU64,
    /// Why the store can no longer be used.
    failed: latest::Sender<Option<String>>,
    pub values: Values,
    pub token: CancellationToken,
}

impl Client {
    pub fn new(options: &EtcdOptions, token: CancellationToken) -> Result<Client, EtcdOptionsError> {
        Ok(Client {
            transport: Transport::new(options, token.clone())?,
            login: options.user.clone().map(Login::new),
            connection: Mutex::default(),
            revision: AtomicU64::new(0),
            cluster: AtomicU64::new(0),
            failed: latest::Sender::new(None),
            values: Values::new(options.completion.clone()),
            token,
        })
    }

    /// The newest revision that is known.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Ends everything, for a reason that lasts.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the etcd store can no longer be used");
        self.failed.send_replace(Some(reason));
        self.token.cancel();
    }

    /// Waits for [`Client::fail`].
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(reason) = &*failed.borrow_and_update() {
                return reason.clone();
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Carries out a call, on another member when one does not answer.
    pub async fn call<C: Call>(&self, request: &C, repeat: Repeat) -> Result<C::Answer, RpcError> {
        let work = self.token.run_until_cancelled(self.persist(request, repeat));
        work.await.unwrap_or(Err(RpcError::Closed))
    }

    async fn persist<C: Call>(&self, request: &C, repeat: Repeat) -> Result<C::Answer, RpcError> {
        let deadline = Instant::now() + CALL_LIMIT;
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.attempt(request, repeat).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !self.worth_another(&error, repeat) || Instant::now() + pause > deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One try on one member.
    pub async fn attempt<C: Call>(&self, request: &C, repeat: Repeat) -> Result<C::Answer, RpcError> {
        let mut connection = self.connection().await?;
        let limit = if repeat == Repeat::Always { ATTEMPT_LIMIT } else { ONLY_ATTEMPT_LIMIT };
        let token = self.login(&mut connection).await?;
        let before = self.revision();
        match grpc::unary::<C::Answer>(&mut connection, C::PATH, request, limit, token.as_deref()).await {
            Ok(answer) => {
                self.note(answer.header())?;
                let now = unsigned(answer.header().revision);
                if now < before {
                    self.fail(format!("etcd has lost writes: it is at revision {now}, it was at {before}"));
                    return Err(RpcError::Closed);
                }
                Ok(answer)
            }
            Err(error) if is_members_fault(&error) => {
                self.give_up(&connection).await;
                Err(match error {
                    RpcError::NotSent(reason) => {
                        RpcError::NotSent(connection.ended().await.unwrap_or(reason))
                    }
                    RpcError::Lost(reason) => RpcError::Lost(connection.ended().await.unwrap_or(reason)),
                    error => error,
                })
            }
            Err(error) => {
                self.renew(&error, token.as_ref()).await;
                Err(error)
            }
        }
    }

    /// The token that goes with a call.
    async fn login(&self, connection: &mut Connection) -> Result<Option<String>, RpcError> {
        let Some(login) = &self.login else { return Ok(None) };
        let EtcdUser { name, password } = login.user.clone();
        let request = wire::AuthenticateRequest { name, password };
        let path = wire::AuthenticateRequest::PATH;
        let asked = async {
            let answer =
                grpc::unary::<wire::AuthenticateResponse>(connection, path, &request, ATTEMPT_LIMIT, None);
            // It changes nothing, whatever became of it.
            answer.await.map(|answer| answer.token).map_err(|error| match error {
                RpcError::Lost(reason) => RpcError::NotSent(reason),
                error => error,
            })
        };
        let token = login.token(asked).await;
        if token.as_ref().is_err_and(is_members_fault) {
            self.give_up(connection).await;
        }
        token
    }

    async fn renew(&self, error: &RpcError, shown: Option<&String>) {
        if let Some(login) = self.login.as_ref().filter(|_| login::wants_token(error)) {
            login.renew(shown).await;
        }
    }

    fn worth_another(&self, error: &RpcError, repeat: Repeat) -> bool {
        match error {
            RpcError::NotSent(_) => true,
            // Refused before anything is done.
            RpcError::Refused { message, .. } if message.contains("too many requests") => true,
            error if login::wants_token(error) => self.login.is_some(),
            error => repeat == Repeat::Always && is_members_fault(error),
        }
    }

    /// A connection of its own for a watch: a reader that is slow must not hold up other answers.
    pub async fn watch(&self, request: &wire::WatchRequest) -> Result<Messages, RpcError> {
        let mut connection = self.transport.connect().await.map_err(RpcError::NotSent)?;
        let token = self.login(&mut connection).await?;
        let opening = grpc::stream(&mut connection, wire::WATCH, request, token.as_deref());
        let opened = tokio::time::timeout(ATTEMPT_LIMIT, opening).await;
        let opened =
            opened.unwrap_or_else(|_| Err(RpcError::Lost(format!("no answer within {ATTEMPT_LIMIT:?}"))));
        opened.inspect_err(|_| self.transport.avoid(connection.member))
    }

    /// etcd has ended a watch. It may have done so because of the token, and says that in as many words as it has versions.
    pub async fn watch_ended(&self) {
        if let Some(login) = &self.login {
            login.forget().await;
        }
    }

    /// A connection that no other call uses.
    #[cfg(test)]
    pub async fn dedicated(&self) -> Result<Connection, String> {
        self.transport.connect().await
    }

    async fn connection(&self) -> Result<Connection, RpcError> {
        let mut present = self.connection.lock().await;
        if let Some(connection) = present.as_ref().filter(|connection| !connection.sender.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.transport.connect().await.map_err(RpcError::NotSent)?;
        *present = Some(connection.clone());
        Ok(connection)
    }

    /// The next call goes to another member.
    async fn give_up(&self, connection: &Connection) {
        self.transport.avoid(connection.member);
        let mut present = self.connection.lock().await;
        if present.as_ref().is_some_and(|present| present.member == connection.member) {
            *present = None;
        }
    }

    /// Takes note of what an answer tells about the whole: how far it is, and that it is the same as before.
    pub fn note(&self, header: Header) -> Result<(), RpcError> {
        let cluster = header.cluster_id;
        let known = match self.cluster.compare_exchange(0, cluster, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => cluster,
            Err(known) => known,
        };
        if known != cluster {
            self.fail(format!("another etcd cluster answers than before ({cluster:x}, not {known:x})"));
            return Err(RpcError::Closed);
        }
        self.revision.fetch_max(unsigned(header.revision), Ordering::AcqRel);
        Ok(())
    }
}

/// Whether another member may do better.
fn is_members_fault(error: &RpcError) -> bool {
    match error {
        RpcError::NotSent(_) | RpcError::Lost(_) => true,
        RpcError::Refused { code, .. } => *code == code::UNAVAILABLE,
        RpcError::Closed => false,
    }
}
