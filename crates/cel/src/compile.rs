//! All steps from a text to an expression that can be evaluated.

use crate::ast::{Expr, Kind};
use crate::check::{self, Checked, Reference};
use crate::env::Env;
use crate::issue::{Issue, Source, display};
use crate::types::Type;
use crate::{literals, parser};

/// Texts shorter than this nest so little that any stack is deep enough.
const SHORT: usize = 64;
/// Deep enough for what the parser lets through.
const STACK: usize = 64 << 20;

/// An expression that makes sense.
#[derive(Debug)]
pub struct Compiled {
    pub expr: Expr,
    pub source: Source,
    pub checked: Checked,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not make sense.
    Invalid(String),
    /// It makes sense and cannot be evaluated.
    Unusable(String),
}

impl Compiled {
    /// The type of what it evaluates to.
    pub fn result(&self) -> &Type {
        &self.checked.types[self.expr.id as usize]
    }
}

/// Compiles an expression in an environment.
///
/// # Errors
/// When it cannot be read, types do not fit, or literals mean nothing.
pub fn compile(text: &str, env: &Env) -> Result<Compiled, Refusal> {
    if text.len() < SHORT {
        return compile_here(text, env);
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK);
        let thread = builder.spawn_scoped(scope, || compile_here(text, env));
        let unusable = || Err(Refusal::Unusable("expression could not be compiled".to_owned()));
        thread.map_or_else(|_| unusable(), |thread| thread.join().unwrap_or_else(|_| unusable()))
    })
}

fn compile_here(text: &str, env: &Env) -> Result<Compiled, Refusal> {
    let invalid = |source: &Source, issues: Vec<Issue>| {
        Refusal::Invalid(format!("compilation failed: {}", display(source, issues)))
    };
    let (expr, source, issues) = parser::parse(text, env.macros());
    let Some(expr) = expr.filter(|_| issues.is_empty()) else {
        return Err(invalid(&source, issues));
    };
    let (checked, issues) = check::check(&expr, &source, env);
    if !issues.is_empty() {
        return Err(invalid(&source, issues));
    }
    let issues = literals::check(&expr, &source, &checked);
    if !issues.is_empty() {
        return Err(invalid(&source, issues));
    }
    match undefined(&expr, &checked, env).or_else(|| literals::unusable(&expr, &checked)) {
        Some(detail) => Err(Refusal::Unusable(format!("program instantiation failed: {detail}"))),
        None => Ok(Compiled { expr, source, checked }),
    }
}

/// Names of types that mean something only to the checker.
fn undefined(expr: &Expr, checked: &Checked, env: &Env) -> Option<String> {
    let mut found = None;
    expr.walk(&mut |node| {
        if let Some(Reference::Variable(name)) = &checked.references[node.id as usize]
            && !matches!(node.kind, Kind::Struct { .. })
            && let Type::Type(Some(of)) = &checked.types[node.id as usize]
            && !env.variables.contains_key(name)
            && (matches!(**of, Type::Struct(_)) || ["duration", "timestamp"].contains(&name.as_str()))
        {
            found.get_or_insert_with(|| format!("reference to undefined type: {name}"));
        }
    });
    found
}
