//! Calls: which overloads fit.

use super::{Checker, Reference, path};
use crate::ast::{Expr, Id, Kind, Literal};
use crate::functions::Overload;
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Type {
        if let ("_?._", [operand, field]) = (function, args)
            && let Kind::Literal(Literal::Text(name)) = &field.kind
        {
            let of = self.field(expr.id, operand, name, true);
            self.refer(expr.id, function, vec!["select_optional_field"], false);
            return self.mapping.settle(&of, false);
        }
        args.iter().for_each(|arg| self.check(arg));
        let Some(target) = target else {
            return match self.env.function(function.trim_start_matches('.')) {
                Some(overloads) => {
                    let function = function.trim_start_matches('.');
                    self.resolve(expr.id, function, overloads, None, args)
                }
                None => self.undeclared(expr.id, function),
            };
        };
        // What looks like a call on a value may be a function whose name has dots.
        if let Some(prefix) = path(target) {
            let name = format!("{}.{function}", prefix.trim_start_matches('.'));
            if let Some(overloads) = self.env.function(&name) {
                return self.resolve(expr.id, &name, overloads, None, args);
            }
        }
        self.check(target);
        match self.env.function(function) {
            Some(overloads) => self.resolve(expr.id, function, overloads, Some(target), args),
            None => self.undeclared(expr.id, function),
        }
    }

    fn refer(&mut self, id: Id, name: &str, overloads: Vec<&'static str>, member: bool) {
        let function = Reference::Function { name: name.to_owned(), overloads, member };
        self.references[id as usize] = Some(function);
    }

    fn resolve(
        &mut self,
        id: Id,
        function: &str,
        overloads: &'static [Overload],
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Type {
        if let Some(of) = self.logic(id, function, args) {
            return of;
        }
        let given: Vec<Type> = target.into_iter().chain(args).map(|arg| self.of(arg)).collect();
        let mut result: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in overloads.iter().filter(|overload| overload.member == target.is_some()) {
            let Some(found) = self.fits(overload, &given) else { continue };
            fitting.push(overload.id);
            result = Some(match result {
                Some(earlier) if !earlier.is_dyn() && earlier != found => Type::Dyn,
                Some(earlier) => earlier,
                None => found,
            });
        }
        if let Some(result) = result {
            self.refer(id, function, fitting, target.is_some());
            return result;
        }
        self.none_fits(id, function, &given, target.is_some());
        Type::Error
    }

    /// Logical operators say what is wrong with each operand.
    fn logic(&mut self, id: Id, function: &str, args: &[Expr]) -> Option<Type> {
        let overload = match function {
            "_&&_" => "logical_and",
            "_||_" => "logical_or",
            _ => return None,
        };
        let mut of = Type::Bool;
        for arg in args {
            let given = self.of(arg);
            if !self.mapping.assign(&given, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, &given);
                of = Type::Error;
            }
        }
        if of == Type::Bool {
            self.refer(id, function, vec![overload], false);
        }
        Some(of)
    }

    /// The result of an overload when it takes these arguments.
    fn fits(&mut self, overload: &Overload, given: &[Type]) -> Option<Type> {
        if overload.args.len() != given.len() {
            return None;
        }
        if !overload.generic {
            return self.mapping.assign_all(given, &overload.args).then(|| overload.result.clone());
        }
        let mut fresh: Vec<(Type, Type)> = Vec::new();
        let args: Vec<Type> = overload.args.iter().map(|arg| self.instance(arg, &mut fresh)).collect();
        let result = self.instance(&overload.result, &mut fresh);
        self.mapping.assign_all(given, &args).then(|| self.mapping.settle(&result, false))
    }

    /// The type with its parameters replaced by ones of this call.
    fn instance(&mut self, of: &Type, fresh: &mut Vec<(Type, Type)>) -> Type {
        if !matches!(of, Type::Param(_)) {
            return of.with(&mut |inner| self.instance(inner, fresh));
        }
        if let Some((_, known)) = fresh.iter().find(|(parameter, _)| parameter == of) {
            return known.clone();
        }
        let open = self.open();
        fresh.push((of.clone(), open.clone()));
        open
    }

    fn none_fits(&mut self, id: Id, function: &str, given: &[Type], member: bool) {
        let given: Vec<String> = given.iter().map(|of| self.mapping.settle(of, true).shown()).collect();
        let (receiver, args) = given.split_at(usize::from(member));
        let receiver: String = receiver.iter().map(|of| format!("{of}.")).collect();
        let signature = format!("{receiver}({})", args.join(", "));
        self.refuse(id, format!("found no matching overload for '{function}' applied to '{signature}'"));
    }
}
