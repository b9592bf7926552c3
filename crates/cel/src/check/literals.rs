//! Lists, maps and messages that are written out.

use super::unify::more_general;
use super::{Checker, Reference};
use crate::ast::{Entry, Expr, Field};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn list(&mut self, elements: &[Expr], optional: &[usize]) -> Type {
        let mut joined = None;
        for (i, element) in elements.iter().enumerate() {
            let of = self.value(element, optional.contains(&i));
            joined = Some(self.join(joined, of));
        }
        Type::list(joined.unwrap_or_else(|| self.open()))
    }

    pub(super) fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let of = self.checked(&entry.key);
            keys = Some(self.join(keys, of));
            let of = self.value(&entry.value, entry.optional);
            values = Some(self.join(values, of));
        }
        let key = keys.unwrap_or_else(|| self.open());
        Type::map(key, values.unwrap_or_else(|| self.open()))
    }

    /// The type of a value, or of what an optional one holds.
    fn value(&mut self, expr: &Expr, optional: bool) -> Type {
        let of = self.checked(expr);
        if !optional {
            return of;
        }
        let (inner, wrapped) = of.unwrapped();
        if !wrapped && !inner.is_dyn() {
            self.mismatch(expr.id, &Type::optional(inner.clone()), inner);
        }
        inner.clone()
    }

    /// The type that what came before and this one have in common. Where nothing may be mixed, that is said later.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        match previous {
            None => current,
            Some(previous) if self.mapping.assign(&previous, &current) => more_general(&previous, &current),
            Some(_) => Type::Dyn,
        }
    }

    pub(super) fn message(&mut self, expr: &Expr, name: &str, fields: &[Field]) -> Type {
        let bare = name.trim_start_matches('.');
        let Some(Type::Type(Some(of))) = self.env.type_named(bare) else {
            return self.undeclared(expr.id, name);
        };
        self.references[expr.id as usize] = Some(Reference::Variable(bare.to_owned()));
        let mut of = (*of).clone();
        if !instantiable(&of) {
            self.refuse(expr.id, format!("'{}' is not a message type", of.name()));
            of = Type::Error;
        }
        for field in fields {
            let value = self.value(&field.value, field.optional);
            let expected = self.env.field(bare, &field.name).unwrap_or_else(|| {
                self.refuse(field.id, format!("undefined field '{}'", field.name));
                Type::Error
            });
            if !self.mapping.assign(&expected, &value) {
                let message = format!(
                    "expected type of field '{}' is '{}' but provided type is '{}'",
                    field.name,
                    expected.shown(),
                    value.shown()
                );
                self.refuse(field.id, message);
            }
        }
        of
    }
}

/// Whether values of a type can be written with braces.
fn instantiable(of: &Type) -> bool {
    match of {
        Type::Struct(_) | Type::Any | Type::Dyn | Type::Null | Type::Duration | Type::Timestamp => true,
        Type::List(element) => **element == Type::Dyn,
        _ => false,
    }
}
