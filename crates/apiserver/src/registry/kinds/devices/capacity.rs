//! How much of a capacity that several claims share may be asked for.

use machinery::field::{Errors, FieldError, Path};
use machinery::quantity::Quantity;
use serde_json::Value;

use super::super::value::{has, list};
use super::{distinct, every};

const OPTIONS_MAX: usize = 10;

fn quantity(object: &Value, field: &str) -> Option<Quantity> {
    object.get(field).and_then(|value| Quantity::from_json(value).ok())
}

fn refuse(path: &Path, value: &Quantity, detail: impl Into<String>) -> FieldError {
    FieldError::invalid(path, value.to_string(), detail)
}

/// The `requestPolicy` of a capacity.
pub(super) fn policy(capacity: &Value, path: &Path) -> Errors {
    let (policy, path) = (&capacity["requestPolicy"], path.child("requestPolicy"));
    let Some(most) = quantity(capacity, "value") else { return Errors::new() };
    let (options, ranged) = (list(policy, "validValues"), has(policy, "validRange"));
    let field = match (options.is_empty(), ranged) {
        (true, false) => return Errors::new(),
        (true, true) => "validRange",
        (false, false) => "validValues",
        (false, true) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            return vec![FieldError::forbidden(&path, detail)];
        }
    };
    let Some(default) = quantity(policy, "default") else {
        let detail = format!("required when {field} is defined");
        return vec![FieldError::required(&path.child("default"), detail)];
    };
    let at = path.child(field);
    if ranged { range(&policy[field], &default, &most, &at) } else { values(options, &default, &most, &at) }
}

fn values(options: &[Value], default: &Quantity, most: &Quantity, path: &Path) -> Errors {
    let amounts: Vec<Quantity> = options.iter().filter_map(|value| Quantity::from_json(value).ok()).collect();
    let mut errors: Errors = amounts
        .iter()
        .zip(amounts.iter().skip(1))
        .enumerate()
        .filter(|(_, (one, next))| one > next)
        .map(|(i, (_, next))| refuse(&path.index(i + 1), next, "values must be sorted in ascending order"))
        .collect();
    errors.extend(every(options, OPTIONS_MAX, path, |option, at| {
        let option = Quantity::from_json(option).ok().filter(|option| option > most);
        let detail = || format!("option is larger than capacity value: {most}");
        option.map(|option| refuse(at, &option, detail())).into_iter().collect()
    }));
    let fits = amounts.len() <= OPTIONS_MAX;
    if fits {
        let keys: Vec<String> = amounts.iter().map(|amount| amount.value().to_string()).collect();
        errors.extend(distinct(keys.iter().map(String::as_str), path));
    }
    if !fits || !amounts.contains(default) {
        errors.push(refuse(path, default, "default value is not valid according to the requestPolicy"));
    }
    errors
}

fn range(range: &Value, default: &Quantity, most: &Quantity, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let at = path.child("min");
    let Some(min) = quantity(range, "min") else {
        return vec![FieldError::required(&at, "required when validRange is defined")];
    };
    if min > *most {
        errors.push(refuse(&at, &min, format!("min is larger than capacity value: {most}")));
    }
    if *default < min {
        errors.push(refuse(&at, default, format!("default is less than min: {min}")));
    }
    let max = quantity(range, "max");
    if let Some(max) = &max {
        let at = path.child("max");
        if min > *max {
            errors.push(refuse(&at, &min, format!("min is larger than max: {max}")));
        }
        if max > most {
            errors.push(refuse(&at, max, format!("max is larger than capacity value: {most}")));
        }
        if default > max {
            errors.push(refuse(&at, default, format!("default is more than max: {max}")));
        }
    }
    if let Some(step) = quantity(range, "step").filter(|step| step.value() != 0) {
        let (at, first) = (path.child("step"), min.add(&step));
        if first > *most {
            let detail = format!("one step {first} is larger than capacity value: {most}");
            errors.push(refuse(&at, &step, detail));
        }
        let uneven = |value: &&Quantity| (value.value() - min.value()) % step.value() != 0;
        let detail = || format!("value is not a multiple of a given step ({step}) from ({min})");
        errors.extend(
            [Some(default), max.as_ref()]
                .into_iter()
                .flatten()
                .filter(uneven)
                .map(|value| refuse(&at, value, detail())),
        );
    }
    errors
}
