//! The tokens of a label selector (apimachinery `pkg/labels`).

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn known(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::Open,
        _ => return None,
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// All tokens with their text; the last one is always [`Token::End`].
pub(super) fn tokens(mut rest: &str) -> Vec<(Token, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_space);
        // A NUL ends the input, as in upstream's lexer.
        let Some(first) = rest.chars().next().filter(|c| *c != '\0') else {
            found.push((Token::End, String::new()));
            return found;
        };
        let length = if is_special(first) {
            let (token, length) = special(rest);
            let text = match token {
                Token::Error => format!("error expected: keyword found '{}'", &rest[..length]),
                _ => rest[..length].to_owned(),
            };
            found.push((token, text));
            length
        } else {
            let length = rest.find(|c| is_special(c) || is_space(c) || c == '\0').unwrap_or(rest.len());
            let text = &rest[..length];
            found.push((known(text).unwrap_or(Token::Identifier), text.to_owned()));
            length
        };
        rest = &rest[length..];
    }
}

/// The longest operator at the start of the text, and its length in bytes.
fn special(text: &str) -> (Token, usize) {
    let run = text.find(|c| !is_special(c)).unwrap_or(text.len());
    let mut best = None;
    for length in 1..=run {
        match known(&text[..length]) {
            Some(token) => best = Some((token, length)),
            None if best.is_some() => break,
            None => {}
        }
    }
    best.unwrap_or((Token::Error, run))
}
