//! Calls of `format` on a literal with a list that is written out.

use crate::ast::{Expr, Id, Kind, Literal};
use crate::check::Checked;
use crate::types::Type;

/// What is wrong with such a call, and where.
pub(super) fn check(expr: &Expr, checked: &Checked) -> Option<(Id, String)> {
    let Kind::Call { function, target: Some(target), args } = &expr.kind else { return None };
    let (Kind::Literal(Literal::Text(format)), [list]) = (&target.kind, args.as_slice()) else { return None };
    let Kind::List { elements, .. } = &list.kind else { return None };
    if function != "format" {
        return None;
    }
    match clauses(format, elements, checked) {
        Err((id, message)) => Some((id.unwrap_or(expr.id), message)),
        Ok(used) if elements.len() > used => {
            let given = elements.len();
            let message =
                format!("too many arguments supplied to string.format (expected {used}, got {given})");
            Some((expr.id, message))
        }
        Ok(_) => None,
    }
}

type Wrong = (Option<Id>, String);

/// How many arguments the clauses of a format take.
fn clauses(format: &str, args: &[Expr], checked: &Checked) -> Result<usize, Wrong> {
    let mut rest = format.chars().peekable();
    let mut used = 0;
    while let Some(c) = rest.next() {
        if c != '%' {
            continue;
        }
        if rest.peek().is_none() {
            return Err((None, "unexpected end of string".to_owned()));
        }
        if rest.next_if_eq(&'%').is_some() {
            continue;
        }
        let Some(arg) = args.get(used) else {
            return Err((None, format!("index {used} out of range")));
        };
        used += 1;
        let clause = clause(&mut rest).map_err(|message| (None, message))?;
        takes(clause, arg, checked)
            .map_err(|(id, message)| (Some(id), format!("error during formatting: {message}")))?;
    }
    Ok(used)
}

/// The letter of a clause, its precision before it.
fn clause(rest: &mut std::iter::Peekable<std::str::Chars>) -> Result<char, String> {
    let refuse = |message: &str| Err(format!("could not parse formatting clause: {message}"));
    if rest.next_if_eq(&'.').is_some() {
        let mut digits = String::new();
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if rest.peek().is_none() {
            return refuse("error while parsing precision: could not find end of precision specifier");
        }
        if digits.is_empty() {
            return refuse(
                "error while parsing precision: error while converting precision to integer: strconv.ParseInt: parsing \"\": invalid syntax",
            );
        }
    }
    match rest.next() {
        Some(letter) if "sdfebxXo".contains(letter) => Ok(letter),
        Some(letter) => refuse(&format!("unrecognized formatting clause \"{letter}\"")),
        None => refuse("unexpected end of string"),
    }
}

/// Whether an argument is of a type that a clause takes.
fn takes(clause: char, arg: &Expr, checked: &Checked) -> Result<(), (Id, String)> {
    let of = |expr: &Expr| &checked.types[expr.id as usize];
    if clause == 's' {
        return printable(arg, checked).map_err(|id| {
            let shown = checked.types[id as usize].name();
            let kinds = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
            (id, format!("string clause can only be used on {kinds}, was given {shown}"))
        });
    }
    let (fits, only): (fn(&Type) -> bool, &str) = match clause {
        'd' => (|of| matches!(of, Type::Int | Type::Uint), "decimal clause can only be used on integers"),
        'f' => {
            (|of| matches!(of, Type::Double | Type::Text), "fixed-point clause can only be used on doubles")
        }
        'e' => {
            (|of| matches!(of, Type::Double | Type::Text), "scientific clause can only be used on doubles")
        }
        'b' => {
            let fits = |of: &Type| matches!(of, Type::Int | Type::Uint | Type::Bool);
            (fits, "only integers and bools can be formatted as binary")
        }
        'o' => (|of| matches!(of, Type::Int | Type::Uint), "octal clause can only be used on integers"),
        _ => {
            let fits = |of: &Type| matches!(of, Type::Int | Type::Uint | Type::Text | Type::Bytes);
            (fits, "only integers, byte buffers, and strings can be formatted as hex")
        }
    };
    let given = of(arg);
    if *given == Type::Dyn || fits(given) {
        return Ok(());
    }
    Err((arg.id, format!("{only}, was given {}", given.name())))
}

/// Whether a value can be printed; if not, which part of it cannot.
fn printable(expr: &Expr, checked: &Checked) -> Result<(), Id> {
    let of = &checked.types[expr.id as usize];
    if matches!(
        of,
        Type::Any | Type::Error | Type::Unspecified | Type::Struct(_) | Type::Opaque(..) | Type::Param(_)
    ) {
        return Err(expr.id);
    }
    match &expr.kind {
        Kind::List { .. } | Kind::Map(_) => {
            expr.parts().into_iter().try_for_each(|part| printable(part, checked))
        }
        _ => Ok(()),
    }
}
