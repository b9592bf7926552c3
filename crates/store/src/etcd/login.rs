//! Who this program is to an etcd that asks: a name and a password are exchanged for a token that goes with each call.

use tokio::sync::Mutex;

use super::grpc::RpcError;

/// Name and password of a user of etcd. It needs all keys: other programs' changes have to be followed, too.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdUser {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for EtcdUser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is known of the token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Token {
    /// Nothing, or that it is no longer good.
    #[default]
    Wanted,
    /// etcd asks nobody.
    NotNeeded,
    Known(String),
}

/// The login of a user.
pub(super) struct Login {
    pub user: EtcdUser,
    token: Mutex<Token>,
}

impl Login {
    pub fn new(user: EtcdUser) -> Login {
        Login { user, token: Mutex::default() }
    }

    /// The token to show, if etcd wants one; asks for it by `authenticate`. Whoever asks meanwhile waits for the same one.
    pub async fn token(
        &self,
        authenticate: impl Future<Output = Result<String, RpcError>>,
    ) -> Result<Option<String>, RpcError> {
        let mut token = self.token.lock().await;
        if *token == Token::Wanted {
            *token = match authenticate.await {
                Ok(new) => Token::Known(new),
                Err(RpcError::Refused { message, .. })
                    if message.contains("authentication is not enabled") =>
                {
                    Token::NotNeeded
                }
                Err(error) => return Err(error),
            };
        }
        Ok(match &*token {
            Token::Known(token) => Some(token.clone()),
            Token::Wanted | Token::NotNeeded => None,
        })
    }

    /// etcd did not take `shown`: the next call asks for another one, unless that has been done.
    pub async fn renew(&self, shown: Option<&String>) {
        let mut token = self.token.lock().await;
        let known = match &*token {
            Token::Known(known) => Some(known),
            Token::Wanted | Token::NotNeeded => None,
        };
        if known == shown {
            *token = Token::Wanted;
        }
    }

    /// Whatever is known may no longer hold.
    pub async fn forget(&self) {
        *self.token.lock().await = Token::Wanted;
    }
}

/// Whether etcd refuses a call, before anything is done, for want of a token that is good: it expires, etcd has been restarted, or
/// users have been changed or turned on.
pub(super) fn wants_token(error: &RpcError) -> bool {
    const WORDS: [&str; 3] = ["invalid auth token", "user name is empty", "revision of auth store is old"];
    matches!(error, RpcError::Refused { message, .. } if WORDS.iter().any(|words| message.contains(words)))
}
