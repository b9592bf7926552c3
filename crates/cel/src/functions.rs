//! The functions of Kubernetes' environments with their overloads.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::types::{Type, split};

/// One way to call a function.
#[derive(Debug)]
pub struct Overload {
    /// The name evaluation and cost estimates know it by.
    pub id: &'static str,
    /// Whether it is called on its first argument.
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
    /// Whether types are left open.
    pub generic: bool,
}

/// Functions by name. The order of overloads decides the result where several fit.
pub(crate) type Functions = BTreeMap<&'static str, Vec<Overload>>;

/// What every environment has: `name overload receiver.(arguments) -> result`.
static COMMON: LazyLock<Functions> = LazyLock::new(|| read(include_str!("functions.txt")));

/// What patches have beside it.
static PATCH: LazyLock<Functions> =
    LazyLock::new(|| read("jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string) -> string"));

/// The overloads of a function.
pub(crate) fn find(name: &str, patch: bool) -> Option<&'static [Overload]> {
    let more = || patch.then(|| PATCH.get(name)).flatten();
    COMMON.get(name).or_else(more).map(Vec::as_slice)
}

fn read(text: &'static str) -> Functions {
    let mut functions = Functions::new();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        if let (Some(name), Some(id), Some(signature)) = (words.next(), words.next(), words.next()) {
            functions.entry(name).or_default().extend(overload(id, signature));
        }
    }
    functions
}

fn overload(id: &'static str, signature: &str) -> Option<Overload> {
    let (call, result) = signature.split_once(" -> ")?;
    let (receiver, args) = match call.strip_prefix('(') {
        Some(args) => (None, args),
        None => call.split_once(".(").map(|(receiver, args)| (Some(receiver), args))?,
    };
    let args = split(args.strip_suffix(')')?);
    let generic = |text: &str| text.split(['(', ')', ',', ' ']).any(|word| word.len() == 1);
    Some(Overload {
        id,
        member: receiver.is_some(),
        args: receiver.into_iter().chain(args).map(Type::read).collect(),
        result: Type::read(result),
        generic: generic(call) || generic(result),
    })
}
