//! Quantities against whole numbers of nanos.

use proptest::prelude::*;

use crate::quantity::Quantity;

const NANO: i128 = 1_000_000_000;

/// Suffixes with what they stand for, in nanos.
const SUFFIXES: [(&str, i128); 16] = [
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("", NANO),
    ("k", 1_000 * NANO),
    ("M", 1_000_000 * NANO),
    ("G", NANO * NANO),
    ("T", 1_000 * NANO * NANO),
    ("Ki", (1 << 10) * NANO),
    ("Mi", (1 << 20) * NANO),
    ("Gi", (1 << 30) * NANO),
    ("Ti", (1 << 40) * NANO),
    ("e3", 1_000 * NANO),
    ("E2", 100 * NANO),
    ("e-3", NANO / 1_000),
    ("e0", NANO),
];

/// A text and the nanos it stands for. Fractions have no more digits than the suffix has room for.
fn quantity() -> impl Strategy<Value = (String, i128)> {
    // Binary amounts end at 2^63-1.
    let number = -1_000_000i64..1_000_000;
    (number, proptest::sample::select(&SUFFIXES[..]), 0..999i128).prop_map(
        |(number, (suffix, unit), thousandths)| {
            if unit % 1_000 != 0 || suffix.ends_with('i') {
                return (format!("{number}{suffix}"), i128::from(number) * unit);
            }
            let nanos = i128::from(number.abs()) * unit + thousandths * (unit / 1_000);
            let sign = if number < 0 { "-" } else { "" };
            let nanos = if number < 0 { -nanos } else { nanos };
            (format!("{sign}{}.{thousandths:03}{suffix}", number.abs()), nanos)
        },
    )
}

fn parse(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Rounded away from zero, as upstream rounds.
fn rounded(nanos: i128, unit: i128) -> i128 {
    let whole = nanos / unit;
    if nanos % unit == 0 { whole } else { whole + nanos.signum() }
}

proptest! {
    #![proptest_config(super::cases(600))]

    #[test]
    fn texts_stand_for_their_amount((text, nanos) in quantity()) {
        let quantity = parse(&text);
        prop_assert_eq!(quantity.scaled(-9), nanos, "{}", text);
        prop_assert_eq!(quantity.millis(), rounded(nanos, 1_000_000), "{}", text);
        prop_assert_eq!(quantity.value(), rounded(nanos, NANO), "{}", text);
        prop_assert_eq!(quantity.is_zero(), nanos == 0);
        prop_assert_eq!(quantity.is_negative(), nanos < 0);
    }

    #[test]
    fn what_is_printed_is_read_again((text, nanos) in quantity()) {
        let printed = parse(&text).to_string();
        let again = parse(&printed);
        prop_assert_eq!(again.scaled(-9), nanos, "{} printed as {}", text, printed);
        prop_assert_eq!(again.to_string(), printed, "{}", text);
    }

    #[test]
    fn arithmetic_is_that_of_numbers((a, x) in quantity(), (b, y) in quantity(), factor in -1000i64..1000) {
        let (a, b) = (parse(&a), parse(&b));
        prop_assert_eq!(a.add(&b).scaled(-9), x + y);
        prop_assert_eq!(a.sub(&b).scaled(-9), x - y);
        prop_assert_eq!(a.mul(factor).scaled(-9), x * i128::from(factor));
        prop_assert_eq!(a.neg().scaled(-9), -x);
        prop_assert_eq!(a.cmp(&b), x.cmp(&y));
        prop_assert_eq!(a == b, x == y);
        prop_assert_eq!(a.add(&b), b.add(&a));
        prop_assert_eq!(parse(&a.add(&b).to_string()).scaled(-9), x + y);
        prop_assert_eq!(a.round_up(0).scaled(0), rounded(x, NANO));
    }

    #[test]
    fn any_text_is_answered(text in "[-+.0-9eEinumkKMGTP]{0,24}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let printed = quantity.to_string();
            prop_assert_eq!(&parse(&printed), &quantity, "{} printed as {}", text, printed);
        }
    }
}
