//! What Go's JSON scanner says about text that is not well-formed. Only asked once the fast decoder has given up.

use crate::text::go_quote;

/// What may come next in the surrounding object or list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    ObjectKey,
    ObjectValue,
    Array,
}

/// What the scanner waits for.
#[derive(Debug, Clone, Copy)]
enum State {
    BeginValue,
    BeginValueOrEnd,
    BeginKey,
    BeginKeyOrEnd,
    EndValue,
    EndTop,
    InString,
    InEscape,
    /// So many hexadecimal digits are still to come.
    InUnicode(u8),
    /// After a minus.
    Minus,
    /// In the digits before the point.
    Digits,
    /// After a leading zero.
    Zero,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// In `true`, `false` or `null`, with so many bytes seen.
    Literal(&'static str, usize),
}

const EOF: &str = "unexpected end of JSON input";

/// The message of Go's `encoding/json` for the first mistake, `None` when there is none.
pub(super) fn syntax_error(bytes: &[u8], depth: usize) -> Option<String> {
    let mut scanner = Scanner { state: State::BeginValue, inside: Vec::new(), depth };
    for byte in bytes {
        if let Err(context) = scanner.step(*byte) {
            return Some(describe(*byte, &context));
        }
    }
    match scanner.step(b' ') {
        Ok(()) if matches!(scanner.state, State::EndTop) => None,
        _ => Some(EOF.to_owned()),
    }
}

fn describe(byte: u8, context: &str) -> String {
    if context == "exceeded max depth" {
        return context.to_owned();
    }
    let c = char::from(byte);
    let quoted = match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let quoted = go_quote(&c.to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
    };
    format!("invalid character {quoted} {context}")
}

struct Scanner {
    state: State,
    inside: Vec<Inside>,
    depth: usize,
}

type Step = Result<(), String>;

fn refuse(context: &str) -> Step {
    Err(context.to_owned())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl Scanner {
    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::BeginValue
            | State::BeginValueOrEnd
            | State::BeginKey
            | State::BeginKeyOrEnd
            | State::EndTop
                if is_space(byte) =>
            {
                Ok(())
            }
            State::BeginValueOrEnd if byte == b']' => self.end_value(byte),
            State::BeginValue | State::BeginValueOrEnd => self.begin_value(byte),
            State::BeginKeyOrEnd if byte == b'}' => {
                self.swap(Inside::ObjectValue);
                self.end_value(byte)
            }
            State::BeginKey | State::BeginKeyOrEnd if byte == b'"' => self.go(State::InString),
            State::BeginKey | State::BeginKeyOrEnd => refuse("looking for beginning of object key string"),
            State::EndValue => self.end_value(byte),
            State::EndTop => refuse("after top-level value"),
            State::InString | State::InEscape | State::InUnicode(_) => self.string(byte),
            State::Literal(word, seen) => self.literal(byte, word, seen),
            _ => self.number(byte),
        }
    }

    fn swap(&mut self, inside: Inside) {
        if let Some(last) = self.inside.last_mut() {
            *last = inside;
        }
    }

    fn push(&mut self, inside: Inside, state: State) -> Step {
        self.inside.push(inside);
        if self.inside.len() > self.depth { refuse("exceeded max depth") } else { self.go(state) }
    }

    fn begin_value(&mut self, byte: u8) -> Step {
        match byte {
            b'{' => self.push(Inside::ObjectKey, State::BeginKeyOrEnd),
            b'[' => self.push(Inside::Array, State::BeginValueOrEnd),
            b'"' => self.go(State::InString),
            b'-' => self.go(State::Minus),
            b'0' => self.go(State::Zero),
            b'1'..=b'9' => self.go(State::Digits),
            b't' => self.go(State::Literal("true", 1)),
            b'f' => self.go(State::Literal("false", 1)),
            b'n' => self.go(State::Literal("null", 1)),
            _ => refuse("looking for beginning of value"),
        }
    }

    fn end_value(&mut self, byte: u8) -> Step {
        let Some(inside) = self.inside.last().copied() else {
            self.state = State::EndTop;
            return if is_space(byte) { Ok(()) } else { refuse("after top-level value") };
        };
        match (inside, byte) {
            (_, byte) if is_space(byte) => self.go(State::EndValue),
            (Inside::ObjectKey, b':') => {
                self.swap(Inside::ObjectValue);
                self.go(State::BeginValue)
            }
            (Inside::ObjectValue, b',') => {
                self.swap(Inside::ObjectKey);
                self.go(State::BeginKey)
            }
            (Inside::Array, b',') => self.go(State::BeginValue),
            (Inside::ObjectValue, b'}') | (Inside::Array, b']') => {
                self.inside.pop();
                self.go(if self.inside.is_empty() { State::EndTop } else { State::EndValue })
            }
            (Inside::ObjectKey, _) => refuse("after object key"),
            (Inside::ObjectValue, _) => refuse("after object key:value pair"),
            (Inside::Array, _) => refuse("after array element"),
        }
    }

    fn string(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (State::InString, b'"') => self.go(State::EndValue),
            (State::InString, b'\\') => self.go(State::InEscape),
            (State::InString, 0..0x20) => refuse("in string literal"),
            (State::InString, _) => Ok(()),
            (State::InEscape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {
                self.go(State::InString)
            }
            (State::InEscape, b'u') => self.go(State::InUnicode(4)),
            (State::InEscape, _) => refuse("in string escape code"),
            (State::InUnicode(left), b) if b.is_ascii_hexdigit() => {
                self.go(if left == 1 { State::InString } else { State::InUnicode(left - 1) })
            }
            _ => refuse("in \\u hexadecimal character escape"),
        }
    }

    fn literal(&mut self, byte: u8, word: &'static str, seen: usize) -> Step {
        let want = word.as_bytes().get(seen).copied().unwrap_or_default();
        if byte != want {
            return Err(format!("in literal {word} (expecting '{}')", char::from(want)));
        }
        self.go(if seen + 1 == word.len() { State::EndValue } else { State::Literal(word, seen + 1) })
    }

    fn number(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (State::Minus, b'0') => self.go(State::Zero),
            (State::Minus, b'1'..=b'9') => self.go(State::Digits),
            (State::Minus, _) => refuse("in numeric literal"),
            (State::Digits | State::Fraction | State::ExponentDigits, b'0'..=b'9') => Ok(()),
            (State::Digits | State::Zero, b'.') => self.go(State::Point),
            (State::Digits | State::Zero | State::Fraction, b'e' | b'E') => self.go(State::Exponent),
            (State::Point, b'0'..=b'9') => self.go(State::Fraction),
            (State::Point, _) => refuse("after decimal point in numeric literal"),
            (State::Exponent, b'+' | b'-') => self.go(State::ExponentSign),
            (State::Exponent | State::ExponentSign, b'0'..=b'9') => self.go(State::ExponentDigits),
            (State::Exponent | State::ExponentSign, _) => refuse("in exponent of numeric literal"),
            (_, byte) => self.end_value(byte),
        }
    }
}
