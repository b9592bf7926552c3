//! Words of the language, and names made by its users.

/// Words that are operators or values.
const OPERATORS: [&str; 4] = ["true", "false", "null", "in"];

/// Words that are kept for later.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether no variable may have this name, although it reads as one.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Whether this is a word of the language, now or later.
pub(crate) fn is_keyword(name: &str) -> bool {
    OPERATORS.contains(&name) || is_reserved(name)
}

/// Whether a variable may have this name.
pub fn is_identifier(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !is_keyword(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables() {
        for (name, fits) in
            [("a_1", true), ("_", true), ("1a", false), ("a-b", false), ("in", false), ("while", false)]
        {
            assert_eq!(is_identifier(name), fits, "{name}");
        }
    }
}
