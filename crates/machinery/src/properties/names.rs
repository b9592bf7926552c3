//! Names against their definition, letter by letter.

use proptest::prelude::*;
use rand::SeedableRng;

use crate::names;

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn label(text: &str, inner: impl Fn(char) -> bool, end: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(inner) && text.starts_with(&end) && text.ends_with(&end)
}

fn is_label(text: &str) -> bool {
    label(text, |c| lower(c) || c == '-', lower)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_word(text: &str) -> bool {
    text.len() <= 63
        && label(text, |c| c.is_ascii_alphanumeric() || "-_.".contains(c), |c| c.is_ascii_alphanumeric())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[aZ0_./-]{0,8}",
        "[a0.-]{0,10}",
        "[a]{60,66}",
        "([a-z]{20}\\.){11}[a-z]{18,26}",
        "[aé ]{0,4}"
    ]
}

proptest! {
    #![proptest_config(super::cases(600))]

    #[test]
    fn names_are_what_their_definition_says(text in text()) {
        prop_assert_eq!(names::dns1123_label(&text).is_empty(), is_label(&text) && text.len() <= 63);
        prop_assert_eq!(names::dns1123_subdomain(&text).is_empty(), is_subdomain(&text));
        let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
        prop_assert_eq!(
            names::dns1035_label(&text).is_empty(),
            is_label(&text) && text.len() <= 63 && starts_with_letter
        );
        prop_assert_eq!(names::label_value(&text).is_empty(), text.is_empty() || is_word(&text));
        let parts: Vec<&str> = text.split('/').collect();
        let qualified = match parts.as_slice() {
            [name] => is_word(name),
            [prefix, name] => is_subdomain(prefix) && is_word(name),
            _ => false,
        };
        prop_assert_eq!(names::qualified_name(&text).is_empty(), qualified);
    }

    #[test]
    fn generated_names_are_names(base in "[a-z0-9]([a-z0-9-]{0,80}[a-z0-9])?-?", seed in any::<u64>()) {
        let name = names::generate_name(&base, &mut rand::rngs::StdRng::seed_from_u64(seed));
        prop_assert!(names::dns1123_label(&name).is_empty(), "{}", name);
        prop_assert!(name.starts_with(&base[..base.len().min(58)]));
    }
}
