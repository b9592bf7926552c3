//! What a kube-apiserver's compilers said of expressions: their type (and what they may cost, for devices), or the message.
//! `recorded.jsonl` has one a line.

use cel::kubernetes::{Admission, device_cost, devices};
use cel::{Refusal, compile};
use serde_json::Value;

#[test]
fn expressions_compile_to_what_was_recorded() {
    let rows = include_str!("recorded.jsonl").lines();
    let wrong: Vec<String> = rows.filter_map(difference).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn macros_that_repeat_their_target_come_to_an_end() {
    let text = format!("optional.none(){}.hasValue()", ".optMap(x, x)".repeat(200));
    let refusal = compile(&text, &Admission::default().env()).expect_err("too big");
    let Refusal::Invalid(message) = refusal else { panic!("{refusal:?}") };
    assert!(message.contains("too big"), "{message}");
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")")] {
        let text = format!("{}1{}", open.repeat(2000), close.repeat(2000));
        let refusal = compile(&text, &Admission::default().env()).expect_err("too deep");
        let Refusal::Invalid(message) = refusal else { panic!("{refusal:?}") };
        assert_eq!(
            message,
            "compilation failed: ERROR: <input>:-1:0: expression recursion limit exceeded: 250"
        );
    }
}

/// An expression with what was recorded and what is said now, when that differs.
fn difference(row: &str) -> Option<String> {
    let row: Value = serde_json::from_str(row).expect("a row is JSON");
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let cost = |cost: u64| format!(" for {cost}");
    let expected = match row["error"].as_str() {
        Some(error) => error.to_owned(),
        None => text("type") + &row["cost"].as_u64().map(cost).unwrap_or_default(),
    };
    let found = match compile(&text("expr"), &environment(&text("env"))) {
        Ok(compiled) if row["cost"].is_u64() => compiled.result().to_string() + &cost(device_cost(&compiled)),
        Ok(compiled) => compiled.result().to_string(),
        Err(Refusal::Invalid(message) | Refusal::Unusable(message)) => message,
    };
    (found != expected).then(|| format!("{}\nrecorded: {expected}\nnow:      {found}", text("expr")))
}

/// Environments by letters: parameters, authorizer, JSON patches; or a device's.
fn environment(name: &str) -> cel::env::Env {
    if name == "dra" {
        return devices().clone();
    }
    Admission { params: name.contains('p'), authorizer: name.contains('a'), patch: name.contains('j') }.env()
}
