//! The `continue` token of paged lists: base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"namespace/name\u0000"}`
//! (apiserver `pkg/storage/continue.go`).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use machinery::decode::{self, DecodeError, Media};
use machinery::patch::kind_of;
use machinery::status::Status;
use serde_json::{Value, json};

/// The only version of tokens there is.
const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The state the list is of; `None` takes the present one (upstream's -1).
    pub revision: Option<u64>,
    /// Key below the scope after which the next page begins.
    pub after: String,
}

impl Position {
    /// The token that clients carry.
    pub fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        let start = json!(format!("{}\0", self.after));
        URL_SAFE_NO_PAD.encode(format!("{{\"v\":\"{VERSION}\",\"rv\":{rv},\"start\":{start}}}"))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 in upstream's words.
    pub fn decode(text: &str) -> Result<Self, Status> {
        read(text).map_err(|why| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        })
    }
}

fn read(text: &str) -> Result<Position, String> {
    let token = decode::object(&bytes_of(text)?, Media::Json).map_err(|error| match error {
        DecodeError::TooLarge(_) => "unexpected end of JSON input".to_owned(),
        error => error.to_string(),
    })?;
    let token = token.value;
    if !token.is_object() && !token.is_null() {
        let kind = kind_of(&token);
        return Err(format!("json: cannot unmarshal {kind} into Go value of type storage.continueToken"));
    }
    let version = text_of(&token, "v")?;
    let revision = number_of(&token, "rv")?;
    let start = text_of(&token, "start")?;
    if version != VERSION {
        return Err(format!("server does not recognize this encoded version {version}"));
    }
    if revision == 0 {
        return Err(format!("incorrect encoded start resourceVersion (version {VERSION})"));
    }
    if start.is_empty() {
        return Err(format!("encoded start key empty (version {VERSION})"));
    }
    // Nothing may lead out of the scope that the key is appended to; its beginning is within.
    let below = start.strip_prefix('/').unwrap_or(start);
    if !below.is_empty() && below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(start.to_owned());
    }
    let after = below.trim_end_matches('\0').to_owned();
    Ok(Position { revision: u64::try_from(revision).ok(), after })
}

/// As Go's `RawURLEncoding`: line ends are skipped, bits that are left over at the end do not matter.
fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
    let illegal = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let (mut out, mut bits, mut held, mut last) = (Vec::with_capacity(text.len()), 0_u32, 0_u32, 0);
    for (at, byte) in text.bytes().enumerate() {
        let value = match byte {
            b'\r' | b'\n' => continue,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return illegal(at),
        };
        last = at;
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    // A single character of a group of four carries no whole byte.
    if held == 6 { illegal(last) } else { Ok(out) }
}

fn text_of<'a>(token: &'a Value, field: &str) -> Result<&'a str, String> {
    match token.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_type(kind_of(other), field, "string")),
    }
}

fn number_of(token: &Value, field: &str) -> Result<i64, String> {
    match token.get(field) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(number)) => {
            number.as_i64().ok_or_else(|| wrong_type(&format!("number {number}"), field, "int64"))
        }
        Some(other) => Err(wrong_type(kind_of(other), field, "int64")),
    }
}

fn wrong_type(have: &str, field: &str, want: &str) -> String {
    format!("json: cannot unmarshal {have} into Go struct field continueToken.{field} of type {want}")
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
        // What upstream makes of the same position.
        let token = Position { revision: Some(12), after: "default/a".into() }.encode();
        assert_eq!(
            token,
            URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":12,"start":"default/a\u0000"}"#)
        );
    }

    #[test]
    fn a_token_may_lead_to_the_beginning() {
        let token = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/"}"#);
        let want = Position { revision: Some(1), after: String::new() };
        assert_eq!(Position::decode(&token).ok(), Some(want));
    }

    #[test]
    fn forged_tokens_are_refused_in_upstreams_words() {
        let raw = [
            ("garbage", "invalid character '\\u0081' looking for beginning of value"),
            ("a", "illegal base64 data at input byte 0"),
            ("abcde", "illegal base64 data at input byte 4"),
            ("ab+d", "illegal base64 data at input byte 2"),
            ("e30=", "illegal base64 data at input byte 3"),
        ];
        for (token, why) in raw {
            assert_refused(token, why);
        }
        let version = "server does not recognize this encoded version";
        let cases: [(&str, &str); 14] = [
            ("{}", version),
            ("null", version),
            (r#"{"v":"v2","rv":1,"start":"a"}"#, &format!("{version} v2")),
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1}"#, "encoded start key empty (version meta.k8s.io/v1)"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#, "../secrets/a"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/.."}"#, "/.."),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#, "a//b"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a/./b"}"#, "a/./b"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a/"}"#, "a/"),
            (
                r#"{"v":"meta.k8s.io/v1","rv":"1","start":"a"}"#,
                "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":1.5,"start":"a"}"#,
                "json: cannot unmarshal number 1.5 into Go struct field continueToken.rv of type int64",
            ),
            ("[]", "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (r#"{"v":"#, "unexpected end of JSON input"),
        ];
        for (token, why) in cases {
            assert_refused(&URL_SAFE_NO_PAD.encode(token), why.trim_end());
        }
    }

    fn assert_refused(token: &str, why: &str) {
        let message = Position::decode(token).map_err(|status| status.message);
        let want = format!("invalid continue token: continue key is not valid: {why}");
        assert_eq!(message.map_err(|have| have.trim_end().to_owned()), Err(want), "{token}");
    }
}
