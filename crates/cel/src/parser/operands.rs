//! Operands: what an expression is when all operators are taken away.

use super::recovery::Follow;
use super::rules::{MEMBER, NAME, NOTHING, Parser, Read, Rule, last, then};
use super::text;
use super::tokens::{EXPR, NUMBERS, OPTIONAL_EXPR, PRIMARY, Set, Tok, Token};
use crate::ast::{Entry, Expr, Field, Kind, Literal};
use crate::names::is_reserved;

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Read<Expr> {
        self.rule(Rule::Primary, last(MEMBER), Self::missing, |p| {
            p.stream.sync(26, PRIMARY)?;
            match p.stream.kind() {
                Tok::OpenParen => p.nested(),
                Tok::OpenBracket => p.list(),
                Tok::OpenBrace => p.map(),
                Tok::Dot if p.stream.ahead(1).kind != Tok::Ident => Err(p.stream.no_alternative(26, 1)),
                Tok::Dot | Tok::Ident => p.named(),
                kind if PRIMARY.has(kind) => p.literal(),
                _ => Err(p.stream.no_alternative(26, 0)),
            }
        })
    }

    fn nested(&mut self) -> Read<Expr> {
        self.stream.take(27, Tok::OpenParen, EXPR, false)?;
        let expr = self.expr(then(&[Tok::CloseParen]))?;
        self.stream.take(28, Tok::CloseParen, NOTHING, true)?;
        Ok(expr)
    }

    fn list(&mut self) -> Read<Expr> {
        const AFTER: Set = Set::of(&[Tok::Comma, Tok::CloseBracket]);
        let at = self.stream.take(29, Tok::OpenBracket, OPTIONAL_EXPR.and(AFTER), false)?.start;
        self.stream.sync(30, OPTIONAL_EXPR.and(AFTER))?;
        let mut items = Vec::new();
        if OPTIONAL_EXPR.has(self.stream.kind()) {
            items = self.rule(
                Rule::Elements,
                then(&[Tok::Comma, Tok::CloseBracket]),
                |_, _| Vec::new(),
                |p| p.separated(31, |p| p.optional_expr(last(Set::of(&[Tok::Comma]))), OPTIONAL_EXPR),
            )?;
        }
        self.close(Tok::CloseBracket)?;
        let optional =
            items.iter().enumerate().filter(|(_, (optional, _))| *optional).map(|(i, _)| i).collect();
        let elements = items.into_iter().map(|(_, element)| element).collect();
        Ok(self.nodes.expr(at, Kind::List { elements, optional }))
    }

    /// Items with commas between them, of which one more may come at the end.
    fn separated<T>(
        &mut self,
        state: u32,
        mut item: impl FnMut(&mut Self) -> Read<T>,
        first: Set,
    ) -> Read<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.stream.kind() == Tok::Comma && first.has(self.stream.ahead(1).kind) {
            self.stream.take(state, Tok::Comma, first, false)?;
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A comma if there is one, and the end.
    fn close(&mut self, kind: Tok) -> Read<()> {
        self.stream.sync(32, Set::of(&[Tok::Comma, kind]))?;
        if self.stream.kind() == Tok::Comma {
            self.stream.take(33, Tok::Comma, Set::of(&[kind]), false)?;
        }
        self.stream.take(34, kind, NOTHING, true)?;
        Ok(())
    }

    fn map(&mut self) -> Read<Expr> {
        const AFTER: Set = Set::of(&[Tok::Comma, Tok::CloseBrace]);
        let at = self.stream.take(35, Tok::OpenBrace, OPTIONAL_EXPR.and(AFTER), false)?.start;
        self.stream.sync(36, OPTIONAL_EXPR.and(AFTER))?;
        let mut entries = Vec::new();
        if OPTIONAL_EXPR.has(self.stream.kind()) {
            entries = self.rule(
                Rule::Entries,
                then(&[Tok::Comma, Tok::CloseBrace]),
                |_, _| Vec::new(),
                |p| p.separated(37, Self::entry, OPTIONAL_EXPR),
            )?;
        }
        self.close(Tok::CloseBrace)?;
        Ok(self.nodes.expr(at, Kind::Map(entries)))
    }

    fn entry(&mut self) -> Read<Entry> {
        let (optional, key) = self.optional_expr(then(&[Tok::Colon]))?;
        let at = self.stream.take(38, Tok::Colon, EXPR, false)?.start;
        let id = self.nodes.id(at);
        let value = self.expr(last(Set::of(&[Tok::Comma])))?;
        Ok(Entry { id, key, value, optional })
    }

    fn optional_expr(&mut self, follow: Follow) -> Read<(bool, Expr)> {
        self.rule(
            Rule::OptionalExpr,
            follow,
            |p, at| (false, p.missing(at)),
            |p| {
                p.stream.sync(39, OPTIONAL_EXPR)?;
                let optional = p.stream.kind() == Tok::Question;
                if optional {
                    p.stream.take(40, Tok::Question, EXPR, false)?;
                }
                Ok((optional, p.expr(last(NOTHING))?))
            },
        )
    }

    /// What starts with a name: a variable, a call or a message.
    fn named(&mut self) -> Read<Expr> {
        let dotted = usize::from(self.stream.kind() == Tok::Dot);
        let mut end = dotted + 1;
        let start = self.stream.ahead(0).start;
        if self.stream.ahead(end).kind == Tok::OpenParen {
            let (name, _) = self.dotted_name(dotted > 0, Set::of(&[Tok::OpenParen]), false)?;
            let (at, args, closed) = self.arguments(NOTHING)?;
            let call = match reserved(&name) {
                Some(message) => self.refuse(start, &message),
                None => self.call(at, &name, None, args),
            };
            return closed.map(|_| call);
        }
        while self.stream.ahead(end).kind == Tok::Dot && self.stream.ahead(end + 1).kind == Tok::Ident {
            end += 2;
        }
        if self.stream.ahead(end).kind == Tok::OpenBrace {
            return self.message(dotted > 0);
        }
        let (name, at) = self.dotted_name(dotted > 0, NOTHING, true)?;
        Ok(match reserved(&name) {
            Some(message) => self.refuse(start, &message),
            None => self.nodes.expr(at, Kind::Ident(name)),
        })
    }

    /// A name with the dot before it, and where the name begins.
    fn dotted_name(&mut self, dotted: bool, after: Set, ends: bool) -> Read<(String, usize)> {
        if dotted {
            self.stream.take(41, Tok::Dot, Set::of(&[Tok::Ident]), false)?;
        }
        let token = self.stream.take(42, Tok::Ident, after, ends)?;
        let dot = if dotted { "." } else { "" };
        Ok((format!("{dot}{}", self.stream.text(token)), token.start))
    }

    fn message(&mut self, dotted: bool) -> Read<Expr> {
        const AFTER: Set = Set::of(&[Tok::Comma, Tok::CloseBrace]);
        const FIELD: Set = NAME.and(Set::of(&[Tok::Question]));
        let (mut name, _) = self.dotted_name(dotted, Set::of(&[Tok::Dot, Tok::OpenBrace]), false)?;
        while self.stream.kind() == Tok::Dot {
            self.stream.take(43, Tok::Dot, Set::of(&[Tok::Ident]), false)?;
            let token = self.stream.take(44, Tok::Ident, Set::of(&[Tok::Dot, Tok::OpenBrace]), false)?;
            name = format!("{name}.{}", self.stream.text(token));
        }
        let at = self.stream.take(45, Tok::OpenBrace, FIELD.and(AFTER), false)?.start;
        self.stream.sync(46, FIELD.and(AFTER))?;
        let mut fields = Vec::new();
        if FIELD.has(self.stream.kind()) {
            let first = self.stream.ahead(0).start;
            fields = self.rule(
                Rule::Fields,
                then(&[Tok::Comma, Tok::CloseBrace]),
                |_, _| Vec::new(),
                |p| p.separated(47, |p| p.field(first), FIELD),
            )?;
        }
        self.close(Tok::CloseBrace)?;
        let fields = fields.into_iter().flatten().collect();
        Ok(self.nodes.expr(at, Kind::Struct { name, fields }))
    }

    /// A field of a message; what is wrong with its name is told where the first one is.
    fn field(&mut self, first: usize) -> Read<Option<Field>> {
        let follow = then(&[Tok::Colon]);
        let named = self.rule(
            Rule::OptionalField,
            follow,
            |_, _| None,
            |p| {
                p.stream.sync(48, NAME.and(Set::of(&[Tok::Question])))?;
                let optional = p.stream.kind() == Tok::Question;
                if optional {
                    p.stream.take(49, Tok::Question, NAME, false)?;
                }
                Ok(Some((optional, p.name(last(NOTHING))?)))
            },
        )?;
        let at = self.stream.take(50, Tok::Colon, EXPR, false)?.start;
        let id = self.nodes.id(at);
        let value = self.expr(last(Set::of(&[Tok::Comma])))?;
        Ok(match named {
            Some((optional, Ok(name))) => Some(Field { id, name, value, optional }),
            Some((_, Err(message))) => {
                self.refuse(first, message);
                None
            }
            None => None,
        })
    }

    /// The name of a field, or why it cannot be one.
    pub(super) fn name(&mut self, follow: Follow) -> Read<Result<String, &'static str>> {
        let missing = |_: &mut Self, _| Err("unsupported ident kind");
        self.rule(Rule::Name, follow, missing, |p| {
            p.stream.sync(51, NAME)?;
            if p.stream.kind() == Tok::EscapedIdent {
                p.stream.take(52, Tok::EscapedIdent, NOTHING, true)?;
                return Ok(Err("unsupported syntax: '`'"));
            }
            let token = p.stream.take(53, Tok::Ident, NOTHING, true)?;
            Ok(Ok(p.stream.text(token)))
        })
    }

    fn literal(&mut self) -> Read<Expr> {
        self.rule(Rule::Literal, last(NOTHING), Self::missing, |p| {
            let start = p.stream.ahead(0).start;
            let negative = p.stream.kind() == Tok::Minus;
            if negative {
                if !matches!(p.stream.ahead(1).kind, Tok::Int | Tok::Float) {
                    return Err(p.stream.no_alternative(54, 1));
                }
                p.stream.take(55, Tok::Minus, NUMBERS, false)?;
            }
            let token = p.stream.take(56, p.stream.kind(), NOTHING, true)?;
            let text = p.stream.text(token);
            Ok(match value(token, &text, negative) {
                Ok(literal) => p.nodes.expr(start, Kind::Literal(literal)),
                Err(message) => p.refuse(start, message),
            })
        })
    }
}

fn reserved(name: &str) -> Option<String> {
    let bare = name.trim_start_matches('.');
    is_reserved(bare).then(|| format!("reserved identifier: {bare}"))
}

fn value(token: Token, text: &str, negative: bool) -> Result<Literal, &'static str> {
    let sign = if negative { "-" } else { "" };
    let signed = |text: &str, radix: u32| i64::from_str_radix(&format!("{sign}{text}"), radix);
    match token.kind {
        Tok::True => Ok(Literal::Bool(true)),
        Tok::False => Ok(Literal::Bool(false)),
        Tok::Null => Ok(Literal::Null),
        Tok::Int => match text.strip_prefix("0x") {
            Some(hex) => signed(hex, 16),
            None => signed(text, 10),
        }
        .map(Literal::Int)
        .map_err(|_| "invalid int literal"),
        Tok::Uint => {
            let text = text.trim_end_matches(['u', 'U']);
            let hex = text.strip_prefix("0x");
            let value = hex.map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
            value.map(Literal::Uint).map_err(|_| "invalid uint literal")
        }
        Tok::Float => {
            let value = format!("{sign}{text}").parse::<f64>().ok().filter(|value| value.is_finite());
            value.map(Literal::Double).ok_or("invalid double literal")
        }
        Tok::Bytes => text::unquote(&text[1..], true).map(Literal::Bytes),
        _ => text::unquote(text, false)
            .map(|bytes| Literal::Text(String::from_utf8_lossy(&bytes).into_owned())),
    }
}
