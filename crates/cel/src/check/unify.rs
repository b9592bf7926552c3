//! Which types fit where, and what that says about types that were left open.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

/// What is known of open types. What a failed attempt found out is forgotten again.
#[derive(Default)]
pub(super) struct Mapping {
    known: HashMap<Arc<str>, Type>,
    trail: Vec<(Arc<str>, Option<Type>)>,
}

impl Mapping {
    /// Whether a value of type `from` fits where `to` is expected.
    pub fn assign(&mut self, from: &Type, to: &Type) -> bool {
        let mark = self.trail.len();
        let fits = self.fits(from, to);
        if !fits {
            self.forget(mark);
        }
        fits
    }

    pub fn assign_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        let mark = self.trail.len();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.fits(from, to));
        if !fits {
            self.forget(mark);
        }
        fits
    }

    fn forget(&mut self, mark: usize) {
        for (name, before) in self.trail.drain(mark..).rev() {
            match before {
                Some(before) => self.known.insert(name, before),
                None => self.known.remove(&name),
            };
        }
    }

    /// The type with all that is known of open types; those of which nothing is known are dynamic if asked for.
    pub fn settle(&self, of: &Type, to_dyn: bool) -> Type {
        match of {
            Type::Param(name) => match self.known.get(name) {
                Some(known) => self.settle(known, to_dyn),
                None if to_dyn => Type::Dyn,
                None => of.clone(),
            },
            other => other.with(&mut |inner| self.settle(inner, to_dyn)),
        }
    }

    fn learn(&mut self, name: &Arc<str>, of: Type) {
        let before = self.known.insert(name.clone(), of);
        self.trail.push((name.clone(), before));
    }

    fn fits(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Param(name) = to {
            let (valid, known) = self.stands_for(from, to, name);
            if valid || known {
                return valid;
            }
        }
        if let Type::Param(name) = from {
            return self.stands_for(to, from, name).0;
        }
        match (from, to) {
            _ if from.is_dyn_or_error() || to.is_dyn_or_error() => true,
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(one), Type::List(other)) => self.fits(one, other),
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.fits(key, other_key) && self.fits(value, other_value)
            }
            (Type::Opaque(name, parameters), Type::Opaque(other, others)) => {
                name == other
                    && parameters.len() == others.len()
                    && parameters.iter().zip(others.iter()).all(|(one, other)| self.fits(one, other))
            }
            _ => from == to,
        }
    }

    /// Whether an open type may be this one, and whether something was known of it.
    fn stands_for(&mut self, of: &Type, open: &Type, name: &Arc<str>) -> (bool, bool) {
        if of == open {
            return (true, true);
        }
        let Some(known) = self.known.get(name).cloned() else {
            let free = self.free_of(open, of);
            if free {
                self.learn(name, of.clone());
            }
            return (free, false);
        };
        if *of == known {
            return (true, true);
        }
        if !self.fits(of, &known) {
            return (false, true);
        }
        let general = more_general(of, &known);
        if self.free_of(open, &general) {
            self.learn(name, general);
        }
        (true, true)
    }

    /// Whether an open type is no part of another.
    fn free_of(&self, open: &Type, of: &Type) -> bool {
        match of {
            _ if of == open => false,
            Type::Param(name) => self.known.get(name).is_none_or(|known| self.free_of(open, known)),
            other => other.parameters().into_iter().all(|parameter| self.free_of(open, parameter)),
        }
    }
}

fn nullable(of: &Type) -> bool {
    matches!(of, Type::Null | Type::Opaque(..) | Type::Struct(_) | Type::Duration | Type::Timestamp)
}

/// Of two types that fit each other, the one that says less.
pub(super) fn more_general(one: &Type, other: &Type) -> Type {
    if says_less(one, other) { one.clone() } else { other.clone() }
}

fn says_less(one: &Type, other: &Type) -> bool {
    match (one, other) {
        _ if one.is_dyn() || matches!(one, Type::Param(_)) => true,
        _ if other.is_dyn() || matches!(other, Type::Param(_)) => false,
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(_), Type::List(_))
        | (Type::Map(..), Type::Map(..))
        | (Type::Opaque(..), Type::Opaque(..)) => {
            let (ours, theirs) = (one.parameters(), other.parameters());
            one.name() == other.name()
                && ours.len() == theirs.len()
                && ours.into_iter().zip(theirs).all(|(one, other)| says_less(one, other))
        }
        _ => one == other,
    }
}
