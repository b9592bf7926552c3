//! What may be a name, a label, a key: each check returns upstream's sentences, none when the value is fine
//! (apimachinery `pkg/util/validation` and `pkg/api/validate/content`).

use rand::Rng;

use crate::field::{Errors, FieldError, Path};
use crate::hash::ALPHABET;

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, which most object names are.
pub const SUBDOMAIN_MAX: usize = 253;
/// Sum of the bytes of all annotations (apimachinery `TotalAnnotationSizeLimitB`).
pub const ANNOTATIONS_MAX: usize = 256 * 1024;
const PORT_NAME_MAX: usize = 15;
/// Random letters after a `generateName` (apiserver `names.randomLength`).
const GENERATED_LENGTH: usize = 5;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035_FORMAT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE_FORMAT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const ENV_FORMAT: &str = "[-._a-zA-Z][-._a-zA-Z0-9]*";
const CONFIG_KEY_FORMAT: &str = "[-._a-zA-Z0-9]+";
const C_IDENTIFIER_FORMAT: &str = "[A-Za-z_][A-Za-z0-9_]*";

fn is_lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| is_lower(*b)) && bytes.last().is_some_and(|b| is_lower(*b));
    ends && bytes.iter().all(|b| is_lower(*b) || *b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_key_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_config_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

/// `must be no more than N characters`: the sentence for a text that is too long (`MaxLenError`).
pub fn max_length_error(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn max_bytes_error(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// The sentence for a text that does not match a regular expression (`RegexError`).
pub fn regex_error(message: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{format}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

/// `must be between A and B, inclusive` (`InclusiveRangeError`).
pub fn range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A label of DNS (RFC 1123): names of namespaces, Services, containers.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_length_error(LABEL_MAX));
    }
    if !is_label(value) {
        errors.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FORMAT,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A subdomain of DNS (RFC 1123): the names of most objects.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    subdomain(value, max_length_error)
}

fn subdomain(value: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(too_long(SUBDOMAIN_MAX));
    }
    if !is_subdomain(value) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FORMAT,
            &["example.com"],
        ));
    }
    errors
}

/// A subdomain whose first label may be `*`: hosts of an Ingress.
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_length_error(SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        errors.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN_FORMAT}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A label of DNS (RFC 1035), which may not begin with a digit: names of Services of old.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_length_error(LABEL_MAX));
    }
    if !is_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            DNS1035_FORMAT,
            &["my-name", "abc-123"],
        ));
    }
    errors
}

const KEY_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const KEY_EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];

/// A key of labels, annotations, taints: an optional DNS prefix, a slash, and a name.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(
                    subdomain(prefix, max_bytes_error).into_iter().map(|e| format!("prefix part {e}")),
                );
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(KEY_MESSAGE, KEY_FORMAT, &KEY_EXAMPLES)
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_bytes_error(LABEL_MAX)));
    }
    if !is_key_name(name) {
        errors.push(format!("name part {}", regex_error(KEY_MESSAGE, KEY_FORMAT, &KEY_EXAMPLES)));
    }
    errors
}

/// The value of a label; may be empty.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_bytes_error(LABEL_MAX));
    }
    if !value.is_empty() && !is_key_name(value) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            VALUE_FORMAT,
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// The name of an environment variable in the strict form, as keys of `envFrom` are filtered by.
pub fn strict_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let fits = !value.is_empty()
        && value.bytes().all(is_config_char)
        && !value.starts_with(|c: char| c.is_ascii_digit());
    if !fits {
        errors.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            ENV_FORMAT,
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errors.extend(change_directory(value));
    errors
}

/// The name of an environment variable: any printable ASCII but `=` (relaxed form, the rule since 1.34).
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if value.bytes().any(|b| !(0x20..0x7f).contains(&b) || b == b'=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errors
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_length_error(SUBDOMAIN_MAX));
    }
    if value.is_empty() || !value.bytes().all(is_config_char) {
        errors.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            CONFIG_KEY_FORMAT,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(change_directory(value));
    errors
}

fn change_directory(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        v if v.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// An identifier of C.
pub fn c_identifier(value: &str) -> Vec<String> {
    let fits = !value.starts_with(|c: char| c.is_ascii_digit())
        && !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        C_IDENTIFIER_FORMAT,
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A name of a port: at most 15 of lower case letters, digits and single hyphens, with a letter.
pub fn port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut refuse = |when: bool, message: &str| {
        if when {
            errors.push(message.to_owned());
        }
    };
    refuse(value.len() > PORT_NAME_MAX, &max_length_error(PORT_NAME_MAX));
    refuse(
        value.is_empty() || !value.bytes().all(|b| is_lower(b) || b == b'-'),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    refuse(!value.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    refuse(value.contains("--"), "must not contain consecutive hyphens");
    refuse(value.starts_with('-') || value.ends_with('-'), "must not begin or end with a hyphen");
    errors
}

/// A port number from 1 to 65535.
pub fn port_number(value: i64) -> Vec<String> {
    if (1..=65535).contains(&value) { Vec::new() } else { vec![range_error(1, 65535)] }
}

/// A percentage like `25%`.
pub fn percent(value: &str) -> Vec<String> {
    let fits =
        value.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if fits {
        return Vec::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// The name of an HTTP header.
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// A name that may be a segment of a URL path: names of RBAC objects, which may have colons
/// (apimachinery `pkg/api/validation/path`).
pub fn path_segment(value: &str) -> Vec<String> {
    match value {
        "." | ".." => return vec![format!("may not be '{value}'")],
        _ => {}
    }
    path_segment_prefix(value)
}

/// The beginning of such a name.
pub fn path_segment_prefix(value: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A prefix of names may end in a dash, because something will follow it. Upstream takes the letter before away with it.
pub fn mask_trailing_dash(prefix: &str) -> String {
    let mut kept = prefix.chars();
    if prefix.len() > 1 && kept.next_back() == Some('-') {
        kept.next_back();
        return format!("{}a", kept.as_str());
    }
    prefix.to_owned()
}

/// A name for an object created with `generateName`: the base, cut to 58 bytes, and five random letters.
pub fn generate_name(base: &str, rng: &mut impl Rng) -> String {
    let mut end = base.len().min(LABEL_MAX - GENERATED_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_suffix(GENERATED_LENGTH, rng))
}

/// So many random letters of the alphabet of names (apimachinery `rand.String`).
pub fn random_suffix(length: usize, rng: &mut impl Rng) -> String {
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// `acme.io/foo`.
pub fn domain_prefixed_path(value: &str, path: &Path) -> Errors {
    if value.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((host, rest)) =
        value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty())
    else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![FieldError::invalid(path, value, detail)];
    };
    let mut errors: Errors =
        dns1123_subdomain(host).into_iter().map(|why| FieldError::invalid(path, host, why)).collect();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:/%@".contains(&b);
    if !rest.bytes().all(allowed) {
        errors.push(FieldError::invalid(path, rest, "Invalid path"));
    }
    errors
}

#[cfg(test)]
mod tests;
