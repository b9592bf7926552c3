//! TokenReview: whose token is this?

use auth::TokenError;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{text, texts};
use crate::flow::Chain;

/// A bad token is no error of the request: the answer says so in its status.
pub(super) fn answer(chain: &Chain, mut review: Value) -> Result<Value, Status> {
    let spec = &review["spec"];
    let token = text(spec, "token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences = texts(spec, "audiences");
    if audiences.is_empty() {
        audiences = chain.authenticator.audiences().to_vec();
    }
    review["status"] = match chain.authenticator.verify(token, &audiences) {
        Ok(verified) => json!({
            "authenticated": true,
            "user": verified.user.authenticated(),
            "audiences": verified.audiences,
        }),
        // Of a token that is not this server's, nobody says more than that nobody knows it.
        Err(TokenError::Foreign) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(error) => json!({"user": {}, "error": format!("[invalid bearer token, {error}]")}),
    };
    Ok(review)
}
