//! How much is done at once.

use std::sync::Arc;

use auth::{MASTERS_GROUP, UserInfo};
use std::time::Duration;

use http::HeaderMap;
use machinery::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::{Query, RequestInfo};

/// Requests in flight that read, at most; upstream's default.
pub(super) const READING_MAX: usize = 400;
/// Requests in flight that change something, at most; upstream's default.
pub(super) const MUTATING_MAX: usize = 200;
/// Seconds after which a refused client may try again.
const RETRY_AFTER_SECONDS: u32 = 1;
/// Requests that are not long-running are answered within this time; the same as upstream's.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Header lines of a request, at most.
const HEADERS_MAX: usize = 128;

/// Counts requests in flight.
#[derive(Debug)]
pub struct Limits {
    reading: Arc<Semaphore>,
    mutating: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            reading: Arc::new(Semaphore::new(READING_MAX)),
            mutating: Arc::new(Semaphore::new(MUTATING_MAX)),
        }
    }
}

impl Limits {
    /// Takes a place among the requests in flight, given back when the permit is dropped. Long-running requests need
    /// none; administrators get in even when all places are taken, so that they can help.
    ///
    /// # Errors
    /// 429 when all places are taken.
    pub fn enter(&self, info: &RequestInfo, user: &UserInfo) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if info.is_long_running() {
            return Ok(None);
        }
        match self.places(info).clone().try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if user.in_group(MASTERS_GROUP) => Ok(None),
            Err(_) => Err(Status::too_many_requests(
                "Too many requests, please try again later.",
                RETRY_AFTER_SECONDS,
            )),
        }
    }

    fn places(&self, info: &RequestInfo) -> &Arc<Semaphore> {
        if info.is_read_only() { &self.reading } else { &self.mutating }
    }

    /// Requests in flight now: reading, mutating.
    pub fn in_flight(&self) -> (usize, usize) {
        (READING_MAX - self.reading.available_permits(), MUTATING_MAX - self.mutating.available_permits())
    }
}

/// Refuses requests with too many header lines; their total size is bounded by the HTTP layer.
///
/// # Errors
/// 431, worded as a Status.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Status> {
    if headers.len() > HEADERS_MAX {
        return Err(Status::new(
            431,
            "BadRequest",
            format!("too many header lines, the limit is {HEADERS_MAX}"),
        ));
    }
    Ok(())
}

/// How long a request may take: a client may ask for less than it would get. `None` for long-running ones.
///
/// # Errors
/// 400 for a `timeout` that is no duration.
pub(super) fn time_allowed(info: &RequestInfo, query: &Query) -> Result<Option<Duration>, Status> {
    if info.is_long_running() {
        return Ok(None);
    }
    let asked = query.get_set("timeout").map(machinery::text::go_parse_duration).transpose();
    let asked = asked.map_err(|why| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    let asked = asked.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
    Ok(Some(asked.map_or(REQUEST_TIMEOUT, Duration::from_nanos).min(REQUEST_TIMEOUT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_be_in_a_hurry() {
        let info = |path: &str, query: &Query| RequestInfo::resolve(&http::Method::GET, path, query).unwrap();
        let full = Some(REQUEST_TIMEOUT);
        for (query, want) in [
            ("", Ok(full)),
            ("timeout=", Ok(full)),
            ("timeout=0s", Ok(full)),
            ("timeout=-5s", Ok(full)),
            ("timeout=2h", Ok(full)),
            ("timeout=1.5s", Ok(Some(Duration::from_millis(1500)))),
            ("timeout=100ms", Ok(Some(Duration::from_millis(100)))),
            ("watch=1&timeout=x", Ok(None)),
            ("timeout=x", Err("time: invalid duration \"x\"")),
            ("timeout=32", Err("time: missing unit in duration \"32\"")),
            ("timeout=3y", Err("time: unknown unit \"y\" in duration \"3y\"")),
        ] {
            let query = Query::parse(query);
            let have = time_allowed(&info("/api/v1/pods", &query), &query).map_err(|status| status.message);
            let want = want.map_err(|why| format!("invalid timeout specified in the request URL - {why}"));
            assert_eq!(have, want, "{query:?}");
        }
    }

    #[test]
    fn places_are_limited_and_given_back() {
        let limits = Limits::default();
        let resolve = |method: &str, path: &str, query: &str| {
            RequestInfo::resolve(&method.parse().unwrap(), path, &Query::parse(query)).unwrap()
        };
        let (create, watch) =
            (resolve("POST", "/api/v1/pods", ""), resolve("GET", "/api/v1/pods", "watch=1"));
        let user = UserInfo::new("alice", &[]);
        let held: Vec<_> = (0..MUTATING_MAX).map(|_| limits.enter(&create, &user).unwrap()).collect();
        assert_eq!(limits.enter(&create, &user).unwrap_err().code, 429);
        assert!(limits.enter(&create, &UserInfo::new("root", &[MASTERS_GROUP])).is_ok());
        assert!(limits.enter(&watch, &user).unwrap().is_none());
        assert_eq!(limits.in_flight(), (0, MUTATING_MAX));
        drop(held);
        assert!(limits.enter(&create, &user).is_ok());
    }
}
