//! Literals that would fail when evaluated: durations, times, patterns, formats, and lists of more than one type.

mod format;
mod pattern;
mod time;

use crate::ast::{Expr, Id, Kind, Literal};
use crate::check::{Checked, Reference};
use crate::issue::{Issue, Source};
use crate::types::Type;

/// What is wrong with the literals of an expression.
pub(crate) fn check(expr: &Expr, source: &Source, checked: &Checked) -> Vec<Issue> {
    let mut found: Vec<(Id, String)> = Vec::new();
    expr.walk(&mut |node| {
        if let Kind::Call { function, args, .. } = &node.kind
            && let Some(arg) = args.first()
            && let Kind::Literal(literal) = &arg.kind
            && !valid(function, literal)
        {
            found.push((arg.id, format!("invalid {function} argument")));
        }
    });
    mixed(expr, checked, false, &mut found);
    expr.walk(&mut |node| found.extend(format::check(node, checked)));
    found.into_iter().map(|(id, message)| source.issue(id, message)).collect()
}

/// What would fail each time it is evaluated, and is found when the evaluation is prepared.
pub(crate) fn unusable(expr: &Expr, checked: &Checked) -> Option<String> {
    let mut found = None;
    expr.walk(&mut |node| {
        let Kind::Call { function, args, .. } = &node.kind else { return };
        let Some(Reference::Function { overloads, .. }) = &checked.references[node.id as usize] else {
            return;
        };
        let literal = |i: usize| match args.get(i).map(|arg| &arg.kind) {
            Some(Kind::Literal(Literal::Text(text))) => Some(text.as_str()),
            _ => None,
        };
        let failed = match overloads.as_slice() {
            _ if is_null(args.first()) => of_null(function),
            ["matches"] => literal(1).and_then(pattern::error),
            [
                "matches_string"
                | "string_find_string"
                | "string_find_all_string"
                | "string_find_all_string_int",
            ] => literal(0).and_then(pattern::error),
            [overload] => literal(0).and_then(|text| conversion(overload, text)),
            _ => None,
        };
        found = found.take().or(failed);
    });
    found
}

fn is_null(arg: Option<&Expr>) -> bool {
    arg.is_some_and(|arg| matches!(arg.kind, Kind::Literal(Literal::Null)))
}

/// Conversions of times take nothing for a time when they are checked, but not when they are evaluated.
fn of_null(function: &str) -> Option<String> {
    matches!(function, "string" | "int").then(|| format!("no such overload: {function}(null_type)"))
}

fn conversion(overload: &str, text: &str) -> Option<String> {
    let (to, good) = match overload {
        "string_to_int64" => ("int", text.parse::<i64>().is_ok()),
        "string_to_uint64" => ("uint", text.parse::<u64>().is_ok()),
        "string_to_double" => ("double", text.parse::<f64>().is_ok()),
        "string_to_bool" => {
            let known = ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
            ("bool", known.contains(&text))
        }
        _ => return None,
    };
    (!good).then(|| format!("type conversion error from 'string' to '{to}'"))
}

/// Whether the first argument of these functions means something.
fn valid(function: &str, literal: &Literal) -> bool {
    match (function, literal) {
        ("duration", Literal::Text(text)) => time::is_duration(text),
        ("timestamp", Literal::Text(text)) => time::is_timestamp(text),
        // Numbers are looked at as if they were bare, which they cannot be.
        ("duration", _) => false,
        ("timestamp", Literal::Int(seconds)) => time::is_second(*seconds),
        ("matches", Literal::Text(pattern)) => pattern::error(pattern).is_none(),
        _ => true,
    }
}

/// Lists and maps whose parts are not all of one type, unless a format takes them.
fn mixed(expr: &Expr, checked: &Checked, exempt: bool, found: &mut Vec<(Id, String)>) {
    let exempt = exempt || matches!(&expr.kind, Kind::Call { function, .. } if function == "format");
    let of = |part: &Expr, optional: bool| {
        let of = &checked.types[part.id as usize];
        if optional { of.unwrapped().0.clone() } else { of.clone() }
    };
    match &expr.kind {
        Kind::List { elements, optional } if !exempt => {
            let types: Vec<Type> =
                elements.iter().enumerate().map(|(i, part)| of(part, optional.contains(&i))).collect();
            let other = types.iter().position(|of| *of != types[0]);
            found.extend(other.map(|i| mismatch(&elements[i], &types[0], &types[i])));
        }
        Kind::Map(entries) if !exempt => {
            for entry in entries {
                let (key, first) = (of(&entry.key, false), of(&entries[0].key, false));
                found.extend((key != first).then(|| mismatch(&entry.key, &first, &key)));
                let (value, first) =
                    (of(&entry.value, entry.optional), of(&entries[0].value, entries[0].optional));
                found.extend((value != first).then(|| mismatch(&entry.value, &first, &value)));
            }
        }
        _ => {}
    }
    expr.parts().into_iter().for_each(|part| mixed(part, checked, exempt, found));
}

fn mismatch(expr: &Expr, expected: &Type, found: &Type) -> (Id, String) {
    (expr.id, format!("expected type '{}' but found '{}'", expected.shown(), found.shown()))
}
