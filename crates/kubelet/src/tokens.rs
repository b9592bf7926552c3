//! Service account tokens for pods, asked for from the API and kept until four fifths of their life are over.

use std::collections::HashMap;

use client::Rest;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::pod::PodInfo;

/// A token is renewed after a day at the latest.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{0}")]
    Refused(Box<client::kube::Error>),
    #[error("unreadable answer: {0}")]
    Answer(serde_json::Error),
}

/// A token and when to replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub text: String,
    pub refresh_at: Timestamp,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    audience: String,
    seconds: i64,
}

/// Tokens of the pods on this node.
#[derive(Debug)]
pub(crate) struct Tokens {
    rest: Rest,
    cache: Mutex<HashMap<Key, Token>>,
}

#[derive(Deserialize)]
struct Answer {
    status: AnswerStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerStatus {
    token: String,
    expiration_timestamp: Timestamp,
}

impl Tokens {
    pub fn new(rest: Rest) -> Self {
        Self { rest, cache: Mutex::default() }
    }

    /// A token of the pod's service account that is bound to the pod.
    pub async fn get(&self, pod: &PodInfo, audience: &str, seconds: i64) -> Result<Token, TokenError> {
        let key = Key { uid: pod.uid().to_owned(), audience: audience.to_owned(), seconds };
        let now = Timestamp::now();
        if let Some(token) = self.cache.lock().get(&key).filter(|token| token.refresh_at > now) {
            return Ok(token.clone());
        }
        let token = self.request(pod, audience, seconds, now).await?;
        self.cache.lock().insert(key, token.clone());
        Ok(token)
    }

    async fn request(
        &self,
        pod: &PodInfo,
        audience: &str,
        seconds: i64,
        now: Timestamp,
    ) -> Result<Token, TokenError> {
        let account = pod.spec().service_account_name.as_deref().unwrap_or("default");
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", pod.namespace());
        let audiences: Vec<&str> =
            Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()},
            },
        });
        let answer = self.rest.post(&path, body.to_string().into_bytes()).await;
        let answer = answer.map_err(|error| TokenError::Refused(Box::new(error)))?;
        let answer: Answer = serde_json::from_str(&answer).map_err(TokenError::Answer)?;
        let refresh_at = refresh_at(now, answer.status.expiration_timestamp);
        Ok(Token { text: answer.status.token, refresh_at })
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        self.cache.lock().retain(|key, _| key.uid != uid);
    }
}

/// When a token made now is replaced.
fn refresh_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now);
    let wait = life.saturating_mul_f64(0.8).min(AGE_MAX);
    now.checked_add(wait).unwrap_or(expires)
}

trait ScaleDuration {
    fn saturating_mul_f64(self, factor: f64) -> SignedDuration;
}

impl ScaleDuration for SignedDuration {
    fn saturating_mul_f64(self, factor: f64) -> SignedDuration {
        SignedDuration::try_from_secs_f64(self.as_secs_f64() * factor).unwrap_or(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_at_four_fifths_or_a_day() {
        let now = Timestamp::from_second(1_700_000_000).expect("time");
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).expect("time");
        assert_eq!(refresh_at(now, at(3600)), at(2880));
        assert_eq!(refresh_at(now, at(7 * 86_400)), at(86_400));
    }
}
