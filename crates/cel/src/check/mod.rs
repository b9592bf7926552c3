//! Types of an expression: finds one for each node, resolves names and overloads, and says what does not fit.

mod calls;
mod literals;
mod unify;

use crate::ast::{Expr, Fold, Id, Kind, Literal};
use crate::env::Env;
use crate::issue::{Issue, Source};
use crate::types::Type;
use unify::Mapping;

/// What a name or a call was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A variable; nodes below belong to its name.
    Variable(String),
    /// The overloads of a function that may be called.
    Function {
        name: String,
        overloads: Vec<&'static str>,
        /// Whether the target is the first argument; otherwise it is a part of the name.
        member: bool,
    },
}

/// What is known about the nodes of an expression, by their identities.
#[derive(Debug)]
pub struct Checked {
    pub types: Vec<Type>,
    pub references: Vec<Option<Reference>>,
}

/// Checks an expression in an environment.
pub(crate) fn check(expr: &Expr, source: &Source, env: &Env) -> (Checked, Vec<Issue>) {
    let count = source.places.len();
    let mut checker = Checker {
        env,
        source,
        types: vec![None; count],
        references: vec![None; count],
        issues: Vec::new(),
        mapping: Mapping::default(),
        locals: Vec::new(),
        free: 0,
    };
    checker.check(expr);
    let Checker { types, references, issues, mapping, .. } = checker;
    let settled = |of: Option<Type>| of.map_or(Type::Dyn, |of| mapping.settle(&of, true));
    (Checked { types: types.into_iter().map(settled).collect(), references }, issues)
}

struct Checker<'a> {
    env: &'a Env,
    source: &'a Source,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
    issues: Vec<Issue>,
    mapping: Mapping,
    /// Names of folds around what is checked, the innermost last.
    locals: Vec<(String, Type)>,
    /// How many types were left open so far.
    free: usize,
}

impl Checker<'_> {
    fn check(&mut self, expr: &Expr) {
        let of = match &expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List { elements, optional } => self.list(elements, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.message(expr, name, fields),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Missing => Type::Error,
        };
        self.types[expr.id as usize] = Some(of);
    }

    fn refuse(&mut self, id: Id, message: String) {
        self.issues.push(self.source.issue(id, message));
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.refuse(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.refuse(id, format!("expected type '{}' but found '{}'", expected.shown(), found.shown()));
    }

    fn of(&self, expr: &Expr) -> Type {
        self.types[expr.id as usize].clone().unwrap_or(Type::Error)
    }

    fn checked(&mut self, expr: &Expr) -> Type {
        self.check(expr);
        self.of(expr)
    }

    fn open(&mut self) -> Type {
        self.free += 1;
        Type::Param(format!("_var{}", self.free - 1).into())
    }

    fn local(&self, name: &str) -> Option<&Type> {
        let name = name.trim_start_matches('.');
        self.locals.iter().rev().find(|(local, _)| local == name).map(|(_, of)| of)
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Type {
        let local = self.local(name).cloned();
        let bare = name.trim_start_matches('.');
        let (of, known_as) = match local {
            Some(of) if bare == name => (of, bare.to_owned()),
            _ => match self.env.global(bare) {
                Some(of) if local.is_some() => (of, format!(".{bare}")),
                Some(of) => (of, bare.to_owned()),
                None => return self.undeclared(expr.id, name),
            },
        };
        self.references[expr.id as usize] = Some(Reference::Variable(known_as));
        of
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        if let Some(found) = (!test).then(|| self.qualified(expr)).flatten() {
            return found;
        }
        let of = self.field(expr.id, operand, field, false);
        if test { Type::Bool } else { self.mapping.settle(&of, false) }
    }

    /// The type of a variable whose name has dots.
    fn qualified(&mut self, expr: &Expr) -> Option<Type> {
        let name = path(expr)?;
        let first = name.trim_start_matches('.').split('.').next().unwrap_or_default();
        let local = self.local(first).is_some();
        if local && !name.starts_with('.') {
            return None;
        }
        let bare = name.trim_start_matches('.');
        let of = self.env.global(bare)?;
        let known_as = if local { format!(".{bare}") } else { bare.to_owned() };
        self.references[expr.id as usize] = Some(Reference::Variable(known_as));
        Some(of)
    }

    /// The type of a field of an operand; that of an optional one is optional.
    fn field(&mut self, id: Id, operand: &Expr, field: &str, optional: bool) -> Type {
        let of = self.checked(operand);
        let of = self.mapping.settle(&of, false);
        let (target, wrapped) = of.unwrapped();
        let found = match target {
            Type::Map(_, value) => (**value).clone(),
            Type::Struct(name) => self.env.field(name, field).unwrap_or_else(|| {
                self.refuse(id, self.no_field(name, field));
                Type::Error
            }),
            Type::Param(_) => {
                self.mapping.assign(&Type::Dyn, target);
                Type::Dyn
            }
            other if other.is_dyn_or_error() => Type::Dyn,
            other => {
                self.refuse(id, format!("type '{}' does not support field selection", other.shown()));
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(found) } else { found }
    }

    fn no_field(&self, object: &str, field: &str) -> String {
        match self.env.is_object(object) {
            true => format!("undefined field '{field}'"),
            false => format!("unexpected failed resolution of '{object}'"),
        }
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        let range = self.checked(&fold.range);
        let accumulated = self.checked(&fold.init);
        let range = self.mapping.settle(&range, false);
        let depth = self.locals.len();
        self.locals.push((fold.accumulator.clone(), accumulated.clone()));
        let (first, second) = self.elements(&fold.range, &range, fold.second.is_some());
        self.locals.push((fold.variable.clone(), first));
        self.locals.extend(fold.second.clone().map(|name| (name, second)));
        let condition = self.checked(&fold.condition);
        self.assert(&fold.condition, &Type::Bool, &condition);
        let step = self.checked(&fold.step);
        self.assert(&fold.step, &accumulated, &step);
        self.locals.truncate(depth + 1);
        let result = self.checked(&fold.result);
        self.locals.truncate(depth);
        self.mapping.settle(&result, false)
    }

    fn assert(&mut self, expr: &Expr, expected: &Type, found: &Type) {
        if !self.mapping.assign(expected, found) {
            self.mismatch(expr.id, expected, found);
        }
    }

    /// The types of a fold's variables.
    fn elements(&mut self, expr: &Expr, range: &Type, two: bool) -> (Type, Type) {
        match range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Error),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.assign(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let shown = other.shown();
                let message = format!(
                    "expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.refuse(expr.id, message);
                (Type::Error, Type::Error)
            }
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Text(_) => Type::Text,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// The name with dots that a chain of fields is, if it starts with a name.
fn path(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", path(operand)?)),
        _ => None,
    }
}
