//! The `continue` token of paged lists: base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"namespace/name\u0000"}`
//! (apiserver `pkg/storage/continue.go`).

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use machinery::status::Status;
use serde::{Deserialize, Serialize};

/// Go's `RawURLEncoding`, which does not look at the bits left over at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The state the list is of; `None` takes the present one (upstream's -1).
    pub revision: Option<u64>,
    /// Key below the scope after which the next page begins.
    pub after: String,
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Position {
    /// The token that clients carry.
    pub fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        let token = Token { v: "meta.k8s.io/v1".into(), rv, start: format!("{}\0", self.after) };
        BASE64.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 in upstream's words.
    pub fn decode(text: &str) -> Result<Self, Status> {
        let bad = |what: &str| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {what}"))
        };
        let bytes = BASE64.decode(text.trim_end_matches('=')).map_err(|error| bad(&error.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| bad(&go_json_error(&bytes)))?;
        if token.v != "meta.k8s.io/v1" {
            let message = format!(
                "server does not recognize this encoded version {}",
                machinery::text::go_quote(&token.v)
            );
            return Err(Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {message}"
            )));
        }
        let revision = match token.rv {
            0 => return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            rv => u64::try_from(rv).ok(),
        };
        if token.start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
        }
        let after = token.start.trim_end_matches('\0').to_owned();
        if after.split('/').any(|part| part == "..") {
            return Err(bad("invalid continue key"));
        }
        Ok(Self { revision, after })
    }
}

/// How Go tells of the first byte that cannot begin a JSON value.
fn go_json_error(bytes: &[u8]) -> String {
    match bytes.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(b) if !matches!(b, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b' ') => {
            format!("invalid character {} looking for beginning of value", go_quote_byte(*b))
        }
        Some(_) => "invalid character in token".to_owned(),
    }
}

fn go_quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0x80..=0x9f => format!("'\\u{byte:04x}'"),
        0xa0..=0xff => format!("'{}'", char::from(byte)),
        _ => format!("'\\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_the_round_trip() {
        for revision in [Some(12), None] {
            let position = Position { revision, after: "default/a".into() };
            assert_eq!(Position::decode(&position.encode()).ok(), Some(position));
        }
    }

    #[test]
    fn garbage_is_refused_in_upstreams_words() {
        let message = Position::decode("garbage").map_err(|status| status.message);
        let want = "invalid continue token: continue key is not valid: invalid character '\\u0081' looking for beginning of value";
        assert_eq!(message, Err(want.to_owned()));
    }
}
