//! The grammar's rules, each a function that reads it and gives its tree.

use super::lexer;
use super::macros::Macros;
use super::nodes::Nodes;
use super::recovery::{Follow, Stop, Stream};
use super::tokens::{EXPR, FACTORS, NUMBERS, OPTIONAL_EXPR, PRIMARY, RELATIONS, Set, TERMS, Tok, Token};
use crate::ast::{Expr, Kind, Literal};
use crate::issue::{Issue, Source};

/// Expressions of more characters are not read.
const SIZE_MAX: usize = 100_000;

/// Reads an expression. There is a tree when there are no issues.
pub(crate) fn parse(text: &str, macros: Macros) -> (Option<Expr>, Source, Vec<Issue>) {
    let mut source = Source::new(text);
    if source.chars.len() > SIZE_MAX {
        let size = source.chars.len();
        let message = format!("expression code point size exceeds limit: size: {size}, limit {SIZE_MAX}");
        return (None, source, vec![Issue { at: None, message }]);
    }
    let stream = Stream::new(&source, lexer::lex(&source));
    let mut parser = Parser { stream, nodes: Nodes::default(), macros };
    let tree = parser.start().ok();
    let mut issues = std::mem::take(&mut parser.stream.issues);
    if parser.nodes.are_too_many() {
        issues.push(Issue {
            at: None,
            message: "expression is too big once its macros are expanded".to_owned(),
        });
    }
    if tree.as_ref().is_some_and(|tree| parser.nodes.is_too_deep(tree)) {
        issues.push(Issue { at: None, message: "max recursion depth exceeded".to_owned() });
    }
    let places = parser.nodes.places;
    source.places = places;
    (tree.filter(|_| issues.is_empty()), source, issues)
}

/// Rules by the number under which their depth is counted.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    Expr,
    Or,
    And,
    Relation,
    Calc,
    Unary,
    Member,
    Primary,
    Exprs,
    Elements,
    Fields,
    OptionalField,
    Entries,
    Name,
    OptionalExpr,
    Literal,
}

pub(super) struct Parser<'a> {
    pub(super) stream: Stream<'a>,
    pub(super) nodes: Nodes,
    macros: Macros,
}

pub(super) type Read<T> = Result<T, Stop>;

/// What follows where the rule that is used may not end.
pub(super) const fn then(kinds: &[Tok]) -> Follow {
    Follow { set: Set::of(kinds), ends: false }
}

/// What follows where it may.
pub(super) const fn last(set: Set) -> Follow {
    Follow { set, ends: true }
}

pub(super) const NOTHING: Set = Set::of(&[]);
/// What goes on after a member.
pub(super) const MEMBER: Set = Set::of(&[Tok::Dot, Tok::OpenBracket]);
pub(super) const NAME: Set = Set::of(&[Tok::Ident, Tok::EscapedIdent]);
const ARGUMENTS: Set = EXPR.and(Set::of(&[Tok::CloseParen]));

impl Parser<'_> {
    /// Reads a rule; when it is given up, what is there instead is `missing`, from where the rule began.
    pub(super) fn rule<T>(
        &mut self,
        rule: Rule,
        follow: Follow,
        missing: impl FnOnce(&mut Self, usize) -> T,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<T> {
        let start = self.stream.ahead(0).start;
        let depth = self.stream.depths[rule as usize];
        self.stream.enter(follow);
        self.stream.deepen(rule as usize)?;
        let out = match read(self) {
            Err(Stop::Rule(message, at)) => {
                self.stream.recover(message, at)?;
                missing(self, start)
            }
            other => other?,
        };
        self.stream.leave();
        self.stream.depths[rule as usize] = depth;
        Ok(out)
    }

    pub(super) fn missing(&mut self, at: usize) -> Expr {
        self.nodes.expr(at, Kind::Missing)
    }

    pub(super) fn refuse(&mut self, at: usize, message: &str) -> Expr {
        self.stream.issues.push(Issue { at: Some(at), message: message.to_owned() });
        self.nodes.expr(at, Kind::Missing)
    }

    /// A call, or what its macro says.
    pub(super) fn call(&mut self, at: usize, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        match self.macros.expand(&mut self.nodes, at, function, target, args) {
            Ok(expr) => expr,
            Err((at, message)) => self.refuse(at, &message),
        }
    }

    fn start(&mut self) -> Read<Expr> {
        let expr = self.expr(then(&[Tok::End]))?;
        match self.stream.take(1, Tok::End, NOTHING, false) {
            Err(Stop::Rule(message, at)) => self.stream.recover(message, at)?,
            other => {
                other?;
            }
        }
        Ok(expr)
    }

    pub(super) fn expr(&mut self, follow: Follow) -> Read<Expr> {
        self.rule(Rule::Expr, follow, Self::missing, |p| {
            let condition = p.or(last(Set::of(&[Tok::Question])))?;
            if p.stream.kind() != Tok::Question {
                return Ok(condition);
            }
            let at = p.stream.take(2, Tok::Question, EXPR, false)?.start;
            match p.branches() {
                Ok([yes, no]) => {
                    let chosen = p.call(at, "_?_:_", None, vec![condition, yes, no]);
                    Ok(p.nodes.raise(chosen))
                }
                Err(Stop::Rule(message, place)) => {
                    p.stream.recover(message, place)?;
                    Ok(p.missing(at))
                }
                Err(all) => Err(all),
            }
        })
    }

    /// What is chosen between.
    fn branches(&mut self) -> Read<[Expr; 2]> {
        let yes = self.or(then(&[Tok::Colon]))?;
        self.stream.take(3, Tok::Colon, EXPR, false)?;
        Ok([yes, self.expr(last(NOTHING))?])
    }

    fn or(&mut self, follow: Follow) -> Read<Expr> {
        let operator = (Tok::Or, "_||_", 4);
        self.rule(Rule::Or, follow, Self::missing, |p| p.logic(operator, Self::and))
    }

    fn and(&mut self, follow: Follow) -> Read<Expr> {
        let operator = (Tok::And, "_&&_", 5);
        self.rule(Rule::And, follow, Self::missing, |p| p.logic(operator, Self::relation))
    }

    /// Terms with one logical operator between them, as a balanced tree.
    fn logic(&mut self, operator: (Tok, &str, u32), term: fn(&mut Self, Follow) -> Read<Expr>) -> Read<Expr> {
        let (kind, function, state) = operator;
        let follow = last(Set::of(&[kind]));
        let (mut terms, mut operators) = (vec![term(self, follow)?], Vec::new());
        while self.stream.kind() == kind {
            let at = self.stream.take(state, kind, EXPR, false)?.start;
            terms.push(term(self, follow)?);
            operators.push(at);
        }
        Ok(self.balanced(function, &mut terms.into_iter(), &operators))
    }

    /// The tree whose inner nodes are the operators, in order, the middle one on top.
    fn balanced(
        &mut self,
        function: &str,
        terms: &mut std::vec::IntoIter<Expr>,
        operators: &[usize],
    ) -> Expr {
        if operators.is_empty() {
            return terms.next().unwrap_or(Expr { id: 0, kind: Kind::Missing });
        }
        let middle = operators.len() / 2;
        let left = self.balanced(function, terms, &operators[..middle]);
        let right = self.balanced(function, terms, &operators[middle + 1..]);
        let args = vec![left, right];
        self.nodes.expr(operators[middle], Kind::Call { function: function.to_owned(), target: None, args })
    }

    fn relation(&mut self, follow: Follow) -> Read<Expr> {
        self.rule(Rule::Relation, follow, Self::missing, |p| {
            let mut left = p.calc(0, last(RELATIONS))?;
            while RELATIONS.has(p.stream.kind()) {
                let operator = p.stream.take(6, p.stream.kind(), EXPR, false)?;
                // The right side is a relation that binds tighter, which leaves what relates to this one.
                let right = p.operand_of_relation()?;
                left = p.operation(operator, left, right);
            }
            Ok(left)
        })
    }

    fn operand_of_relation(&mut self) -> Read<Expr> {
        self.rule(Rule::Relation, last(RELATIONS), Self::missing, |p| p.calc(0, last(RELATIONS)))
    }

    fn operation(&mut self, operator: Token, left: Expr, right: Expr) -> Expr {
        let call = self.call(operator.start, binary(operator.kind), None, vec![left, right]);
        self.nodes.raise(call)
    }

    /// Sums and products: operators of at least this precedence (products bind tighter).
    fn calc(&mut self, precedence: u8, follow: Follow) -> Read<Expr> {
        const OPERATORS: Set = FACTORS.and(TERMS);
        self.rule(Rule::Calc, follow, Self::missing, |p| {
            let mut left = p.unary()?;
            loop {
                let kind = p.stream.kind();
                let next = match kind {
                    _ if FACTORS.has(kind) && precedence <= 2 => 3,
                    _ if TERMS.has(kind) && precedence <= 1 => 2,
                    _ => return Ok(left),
                };
                let operator = p.stream.take(7, kind, EXPR, false)?;
                let right = p.calc(next, last(OPERATORS))?;
                left = p.operation(operator, left, right);
            }
        })
    }

    fn unary(&mut self) -> Read<Expr> {
        self.rule(Rule::Unary, last(FACTORS.and(TERMS)), Self::missing, |p| {
            p.stream.sync(8, EXPR)?;
            match p.stream.kind() {
                Tok::Not => p.signs(Tok::Not, "!_"),
                Tok::Minus if !NUMBERS.has(p.stream.ahead(1).kind) => p.signs(Tok::Minus, "-_"),
                kind if PRIMARY.has(kind) => p.member(),
                _ => Err(p.stream.no_alternative(8, 0)),
            }
        })
    }

    /// Signs before an operand; two of them cancel each other.
    fn signs(&mut self, sign: Tok, function: &str) -> Read<Expr> {
        if sign == Tok::Minus && !PRIMARY.has(self.stream.ahead(1).kind) {
            return Err(self.stream.no_alternative(8, 1));
        }
        let (first, mut count) = (self.stream.ahead(0).start, 0);
        while self.stream.kind() == sign {
            if sign == Tok::Minus && !PRIMARY.has(self.stream.ahead(1).kind) {
                return Err(self.stream.no_alternative(9, 1));
            }
            self.stream.take(10, sign, PRIMARY, false)?;
            self.stream.sync_loop(11, PRIMARY.and(Set::of(&[sign])))?;
            count += 1;
        }
        let operand = self.member()?;
        Ok(if count % 2 == 0 { operand } else { self.call(first, function, None, vec![operand]) })
    }

    fn member(&mut self) -> Read<Expr> {
        self.rule(Rule::Member, last(NOTHING), Self::missing, |p| {
            let mut member = p.primary()?;
            loop {
                let kind = p.stream.kind();
                if !MEMBER.has(kind) {
                    return Ok(member);
                }
                let second = p.stream.ahead(1).kind;
                member = match (kind, second, p.stream.ahead(2).kind) {
                    (Tok::OpenBracket, ..) => p.index(member)?,
                    (_, Tok::Ident, Tok::OpenParen) => p.method(member)?,
                    (_, Tok::Ident | Tok::EscapedIdent | Tok::Question, _) => p.select(member)?,
                    _ => return Err(p.stream.no_alternative(12, 1)),
                };
                member = p.nodes.raise(member);
            }
        })
    }

    fn select(&mut self, operand: Expr) -> Read<Expr> {
        let dot = self.stream.take(13, Tok::Dot, NAME, false)?.start;
        self.stream.sync(14, NAME.and(Set::of(&[Tok::Question])))?;
        let optional = self.stream.kind() == Tok::Question;
        if optional {
            self.stream.take(15, Tok::Question, NAME, false)?;
        }
        let at = self.stream.ahead(0).start;
        let field = match self.name(last(MEMBER))? {
            Ok(name) => name,
            Err(message) => {
                self.refuse(at, message);
                String::new()
            }
        };
        if !optional {
            let operand = Box::new(operand);
            return Ok(self.nodes.expr(dot, Kind::Select { operand, field, test: false }));
        }
        let field = self.nodes.expr(at, Kind::Literal(Literal::Text(field)));
        let args = vec![operand, field];
        Ok(self.nodes.expr(dot, Kind::Call { function: "_?._".to_owned(), target: None, args }))
    }

    fn method(&mut self, target: Expr) -> Read<Expr> {
        self.stream.take(16, Tok::Dot, Set::of(&[Tok::Ident]), false)?;
        let name = self.stream.take(17, Tok::Ident, Set::of(&[Tok::OpenParen]), false)?;
        let (at, args, closed) = self.arguments(MEMBER)?;
        let function = self.stream.text(name);
        let call = self.call(at, &function, Some(target), args);
        closed.map(|_| call)
    }

    /// Where parentheses open, arguments in them, and whether they close. What is wrong with a call is told either way.
    pub(super) fn arguments(&mut self, after: Set) -> Read<(usize, Vec<Expr>, Read<Token>)> {
        let at = self.stream.take(18, Tok::OpenParen, ARGUMENTS, false)?.start;
        self.stream.sync(19, ARGUMENTS)?;
        let args = if EXPR.has(self.stream.kind()) { self.exprs()? } else { Vec::new() };
        let closed = self.stream.take(20, Tok::CloseParen, after, true);
        Ok((at, args, closed))
    }

    fn exprs(&mut self) -> Read<Vec<Expr>> {
        let follow = last(Set::of(&[Tok::Comma]));
        self.rule(
            Rule::Exprs,
            then(&[Tok::CloseParen]),
            |_, _| Vec::new(),
            |p| {
                let mut exprs = vec![p.expr(follow)?];
                while p.stream.kind() == Tok::Comma {
                    p.stream.take(21, Tok::Comma, EXPR, false)?;
                    exprs.push(p.expr(follow)?);
                }
                Ok(exprs)
            },
        )
    }

    fn index(&mut self, operand: Expr) -> Read<Expr> {
        let at = self.stream.take(22, Tok::OpenBracket, OPTIONAL_EXPR, false)?.start;
        self.stream.sync(23, OPTIONAL_EXPR)?;
        let optional = self.stream.kind() == Tok::Question;
        if optional {
            self.stream.take(24, Tok::Question, EXPR, false)?;
        }
        let index = self.expr(then(&[Tok::CloseBracket]))?;
        self.stream.take(25, Tok::CloseBracket, MEMBER, true)?;
        let function = if optional { "_[?_]" } else { "_[_]" };
        Ok(self.call(at, function, None, vec![operand, index]))
    }
}

/// The function that an operator is.
fn binary(kind: Tok) -> &'static str {
    match kind {
        Tok::Equals => "_==_",
        Tok::NotEquals => "_!=_",
        Tok::In => "@in",
        Tok::Less => "_<_",
        Tok::LessEquals => "_<=_",
        Tok::GreaterEquals => "_>=_",
        Tok::Greater => "_>_",
        Tok::Star => "_*_",
        Tok::Slash => "_/_",
        Tok::Percent => "_%_",
        Tok::Minus => "_-_",
        _ => "_+_",
    }
}
