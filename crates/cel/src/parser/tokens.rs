//! Kinds of tokens and sets of them, in the grammar's order: messages list them so.

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tok {
    End,
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    Text,
    Bytes,
    Ident,
    EscapedIdent,
}

use Tok::{
    And, Bytes, CloseBrace, CloseBracket, CloseParen, Colon, Comma, Dot, End, Equals, EscapedIdent, False,
    Float, Greater, GreaterEquals, Ident, In, Int, Less, LessEquals, Minus, Not, NotEquals, Null, OpenBrace,
    OpenBracket, OpenParen, Or, Percent, Plus, Question, Slash, Star, Text, True, Uint,
};

const NAMES: [(Tok, &str); 36] = [
    (End, "<EOF>"),
    (Equals, "'=='"),
    (NotEquals, "'!='"),
    (In, "'in'"),
    (Less, "'<'"),
    (LessEquals, "'<='"),
    (GreaterEquals, "'>='"),
    (Greater, "'>'"),
    (And, "'&&'"),
    (Or, "'||'"),
    (OpenBracket, "'['"),
    (CloseBracket, "']'"),
    (OpenBrace, "'{'"),
    (CloseBrace, "'}'"),
    (OpenParen, "'('"),
    (CloseParen, "')'"),
    (Dot, "'.'"),
    (Comma, "','"),
    (Minus, "'-'"),
    (Not, "'!'"),
    (Question, "'?'"),
    (Colon, "':'"),
    (Plus, "'+'"),
    (Star, "'*'"),
    (Slash, "'/'"),
    (Percent, "'%'"),
    (True, "'true'"),
    (False, "'false'"),
    (Null, "'null'"),
    (Float, "NUM_FLOAT"),
    (Int, "NUM_INT"),
    (Uint, "NUM_UINT"),
    (Text, "STRING"),
    (Bytes, "BYTES"),
    (Ident, "IDENTIFIER"),
    (EscapedIdent, "ESC_IDENTIFIER"),
];

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub const fn of(kinds: &[Tok]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u64;
            i += 1;
        }
        Self(bits)
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn has(self, kind: Tok) -> bool {
        self.0 & (1 << kind as u64) != 0
    }

    /// As messages say what was expected.
    pub fn names(self) -> String {
        let names: Vec<&str> =
            NAMES.iter().filter(|(kind, _)| self.has(*kind)).map(|(_, name)| *name).collect();
        match names.as_slice() {
            [one] => (*one).to_owned(),
            _ => format!("{{{}}}", names.join(", ")),
        }
    }
}

pub(super) const NUMBERS: Set = Set::of(&[Float, Int, Uint]);
/// What an operand without a sign before it starts with.
pub(super) const PRIMARY: Set =
    Set::of(&[OpenBracket, OpenBrace, OpenParen, Dot, Minus, True, False, Null, Text, Bytes, Ident])
        .and(NUMBERS);
/// What an expression starts with.
pub(super) const EXPR: Set = PRIMARY.and(Set::of(&[Not]));
pub(super) const OPTIONAL_EXPR: Set = EXPR.and(Set::of(&[Question]));
pub(super) const RELATIONS: Set = Set::of(&[Equals, NotEquals, In, Less, LessEquals, GreaterEquals, Greater]);
pub(super) const FACTORS: Set = Set::of(&[Star, Slash, Percent]);
pub(super) const TERMS: Set = Set::of(&[Plus, Minus]);

/// A token: its kind and the characters it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Tok,
    pub start: usize,
    pub end: usize,
}
