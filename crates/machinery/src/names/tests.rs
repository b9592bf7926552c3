use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

type Check = fn(&str) -> Vec<String>;

#[test]
fn good_and_bad() {
    let long = "a".repeat(64);
    let cases: [(Check, &[&str], &[&str]); 9] = [
        (dns1123_label, &["a", "my-name", "123-abc", "0"], &["", "A", "-a", "a-", "a.b", "a_b", &long, "ä"]),
        (dns1123_subdomain, &["a", "a.b", "1.2"], &["", "a..b", ".a", "a.", "A", "a_b", "*.a"]),
        (dns1035_label, &["a", "a-1"], &["1a", "", "a.b", "A", "a-"]),
        (
            qualified_name,
            &["a", "A_b.c-d", "example.com/Name"],
            &["", "a/b/c", "/a", "a/", "bad key!", "-a", "Ex.com/a"],
        ),
        (label_value, &["", "a", "A_b.c"], &["-a", "a b", "a/b", &long]),
        (env_var_name, &["A", "a b", "1A", "a.b-c", "x{y}"], &["", "a=b", "ü", "a\nb"]),
        (config_map_key, &["a", "A_b.c-d", ".a"], &["", ".", "..", "..a", "bad key", "a/b"]),
        (port_name, &["http", "a-1"], &["", "1", "a--b", "-a", "a-", "HTTP", "sixteen-letters-x"]),
        (c_identifier, &["_a", "A1"], &["", "1a", "a-b"]),
    ];
    for (i, (check, good, bad)) in cases.into_iter().enumerate() {
        for name in good {
            assert!(check(name).is_empty(), "{i}: {name:?}: {:?}", check(name));
        }
        for name in bad {
            assert!(!check(name).is_empty(), "{i}: {name:?}");
        }
    }
}

#[test]
fn upstreams_words() {
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    assert_eq!(dns1123_label("C!"), [label]);
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    // The 1.20 recording differs in one sentence only: a key of three parts was called "a qualified name".
    let key = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    assert_eq!(qualified_name("bad key!"), [key]);
    assert!(
        qualified_name("a/b/c")[0]
            .ends_with("with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
    );
    let config = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    assert_eq!(config_map_key("bad key"), [config]);
    assert_eq!(config_map_key(".."), ["must not be '..'"]);
    assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
    assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
    assert!(path_segment("system:node").is_empty());
    assert_eq!(path_segment(".."), ["may not be '..'"]);
    assert_eq!(path_segment_prefix("../%"), ["may not contain '/'", "may not contain '%'"]);
    assert!(path_segment_prefix("..").is_empty());
    for (prefix, masked) in
        [("web-", "wea"), ("a_-", "aa"), ("a", "a"), ("-", "-"), ("a.", "a."), ("\u{e4}-", "a")]
    {
        assert_eq!(mask_trailing_dash(prefix), masked);
    }
}

#[test]
fn generated_names_are_valid_and_differ() {
    let mut rng = StdRng::seed_from_u64(7);
    let name = generate_name("web-", &mut rng);
    assert!(name.starts_with("web-") && name.len() == 9 && dns1123_label(&name).is_empty(), "{name}");
    assert_ne!(name, generate_name("web-", &mut rng));
    let long = generate_name(&"x".repeat(100), &mut rng);
    assert_eq!(long.len(), 63);
}
