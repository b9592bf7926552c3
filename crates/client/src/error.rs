//! What the API's refusals mean to a client.

use kube::Error;

/// The HTTP code of an answer that was a `Status`.
#[must_use]
pub fn status_code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The object, or its namespace, is not there.
#[must_use]
pub fn is_not_found(error: &Error) -> bool {
    status_code(error) == Some(404)
}

/// The object was written by someone else meanwhile, or a precondition did not hold.
#[must_use]
pub fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists")
}

/// An object of that name is there already.
#[must_use]
pub fn is_already_exists(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// The requested revision is no longer kept: list again.
#[must_use]
pub fn is_gone(error: &Error) -> bool {
    status_code(error) == Some(410)
}
