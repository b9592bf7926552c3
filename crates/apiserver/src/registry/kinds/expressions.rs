//! Expressions in objects: each has to compile, and to evaluate to what its place asks for.

use cel::env::Env;
use cel::kubernetes::{self, Admission};
use cel::{Refusal, Type, compile};
use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::value::{has, list};

/// The most that choosing a device may cost.
const DEVICE_COST_MAX: u64 = 1_000_000;

/// What the expressions of a webhook or of a policy speak of.
#[derive(Clone, Copy, Default)]
pub(super) struct Scope<'a> {
    /// Whether the policy has parameters.
    pub params: bool,
    /// The variables that were declared, when there are any.
    pub variables: Option<&'a [(String, Type)]>,
}

impl<'a> Scope<'a> {
    /// What all expressions of a policy speak of; only those of validating ones without variables have none to name.
    pub fn of(spec: &Value, variables: &'a [(String, Type)]) -> Self {
        let composed = has(spec, "mutations") || !list(spec, "variables").is_empty();
        Self { params: has(spec, "paramKind"), variables: composed.then_some(variables) }
    }

    fn env(self, authorizer: bool, patch: bool) -> Env {
        let env = Admission { params: self.params, authorizer, patch }.env();
        self.variables.map_or(env.clone(), |variables| kubernetes::with_variables(env, variables))
    }
}

/// What places ask for.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// Whether something holds.
    Condition,
    /// A text that goes into a message; who asked is not known then.
    Message,
    /// A text or nothing.
    Annotation,
    /// Anything.
    Variable,
    /// An object to merge.
    Configuration,
    /// Operations.
    Patch,
}

impl Wanted {
    fn types(self) -> Vec<Type> {
        match self {
            Self::Condition => vec![Type::Bool],
            Self::Message => vec![Type::Text],
            Self::Annotation => vec![Type::Text, Type::Null],
            Self::Variable => Vec::new(),
            Self::Configuration => vec![Type::object("Object")],
            Self::Patch => vec![Type::list(Type::object("JSONPatch"))],
        }
    }
}

/// The type of an expression of admission, or what is wrong with it.
pub(super) fn admission(
    expression: &str,
    wanted: Wanted,
    scope: Scope,
    path: &Path,
) -> Result<Type, FieldError> {
    let patch = matches!(wanted, Wanted::Configuration | Wanted::Patch);
    let env = scope.env(!matches!(wanted, Wanted::Message), patch);
    // What surrounds a value is shown and not compiled.
    let compiled_text = if matches!(wanted, Wanted::Annotation) { expression.trim() } else { expression };
    let compiled = compile(compiled_text, &env).map_err(|refusal| refused(refusal, expression, path))?;
    let (types, found) = (wanted.types(), compiled.result());
    if types.is_empty() || types.contains(found) {
        return Ok(found.clone());
    }
    let detail = match types.as_slice() {
        [one] => format!("must evaluate to {one} but got {found}"),
        several => {
            let several: Vec<String> = several.iter().map(Type::to_string).collect();
            format!("must evaluate to one of [{}] but got {found}", several.join(" "))
        }
    };
    Err(FieldError::invalid(path, expression, detail))
}

/// What is wrong with an expression that chooses devices.
pub(super) fn device_selector(expression: &str, path: &Path) -> Errors {
    let compiled = match compile(expression, kubernetes::devices()) {
        Ok(compiled) => compiled,
        Err(refusal) => return vec![refused(refusal, expression, path)],
    };
    match compiled.result() {
        Type::Bool | Type::Any if kubernetes::device_cost(&compiled) > DEVICE_COST_MAX => {
            vec![FieldError::forbidden(path, "too complex, exceeds cost limit")]
        }
        Type::Bool | Type::Any => Errors::new(),
        other => {
            let detail = format!("must evaluate to bool or the unknown type, not {other}");
            vec![FieldError::invalid(path, expression, detail)]
        }
    }
}

fn refused(refusal: Refusal, expression: &str, path: &Path) -> FieldError {
    match refusal {
        Refusal::Invalid(detail) => FieldError::invalid(path, expression, detail),
        Refusal::Unusable(detail) => FieldError::internal(path, detail),
    }
}
