//! Amounts of resources: `500m`, `1Gi`, `1e3` (apimachinery `pkg/api/resource`).
//!
//! A quantity is `mantissa × 10^scale`, never finer than a nano. It remembers the family of suffixes it was written in
//! and prints itself in upstream's canonical form; text that upstream leaves alone (`1.500`) is left alone here.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// The finest unit: 10^-9.
const NANO: i32 = -9;
/// Binary quantities are capped at 2^63-1, as upstream caps them.
const BINARY_MAX: i128 = i64::MAX as i128;
/// Digits that fit into upstream's fast path; decides which spellings are kept as they are.
const FAST_DIGITS: usize = 18;
/// More digits than this has are not taken: what is printed has up to two zeros more, and has to be read again.
const SIGNIFICANT_MAX: i128 = 10i128.pow(36);
/// Largest power of ten that has a suffix (`E`).
const LARGEST_SUFFIX: i32 = 18;

/// The family of suffixes a quantity is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `n u m k M G T P E`
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`
    DecimalExponent,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// The text has the wrong shape.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number cannot be read.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount. Equality and order are by amount, not by spelling.
#[derive(Debug, Clone, Default)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
    /// The text as it was written, when upstream would keep it.
    text: Option<Box<str>>,
}

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// Upstream's sentence, see [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text == "0" {
            return Ok(Self { text: Some("0".into()), ..Self::default() });
        }
        let parts = split(text)?;
        let (base, exponent, format) = suffix(parts.suffix).ok_or(QuantityError::Suffix)?;
        let mut quantity = amount(&parts, base, exponent)?;
        quantity.format = format;
        if keeps_spelling(&parts, exponent, format) {
            quantity.text = Some(text.into());
            return Ok(quantity);
        }
        quantity.round_to(NANO);
        if format == Format::BinarySi {
            let greatest = Self::from_i128(BINARY_MAX);
            if quantity > greatest || quantity < greatest.neg() {
                (quantity.mantissa, quantity.scale) = (BINARY_MAX * quantity.mantissa.signum(), 0);
            }
            if !quantity.is_zero() && quantity.abs_less_than_one() {
                quantity.format = Format::DecimalSi;
            }
        }
        Ok(quantity)
    }

    /// Reads a quantity out of JSON: a string, or a number (which Go reads by its text).
    ///
    /// # Errors
    /// Upstream's sentence.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, QuantityError> {
        match value {
            serde_json::Value::String(text) => Self::parse(text.trim()),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(QuantityError::Format),
        }
    }

    /// A whole number in decimal notation.
    pub fn from_i128(value: i128) -> Self {
        Self { mantissa: value, ..Self::default() }
    }

    /// A whole number in the given notation.
    pub fn new(value: i64, format: Format) -> Self {
        Self { mantissa: value.into(), format, ..Self::default() }
    }

    /// So many thousandths.
    pub fn from_millis(value: i64) -> Self {
        Self { mantissa: value.into(), scale: -3, ..Self::default() }
    }

    /// The notation.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(&self) -> bool {
        self.mantissa < 0
    }

    /// Thousandths, rounded away from zero.
    pub fn millis(&self) -> i128 {
        self.scaled(-3)
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i128 {
        self.scaled(0)
    }

    /// Nearest floating-point number.
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// The amount in units of 10^`scale`, rounded away from zero; the ends of `i128` when it does not fit.
    pub fn scaled(&self, scale: i32) -> i128 {
        rescale(self.mantissa, self.scale, scale)
    }

    /// Sum. A zero takes over the other's notation.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        self.combine(other, i128::saturating_add)
    }

    /// Difference. A zero takes over the other's notation.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.combine(other, i128::saturating_sub)
    }

    /// Product with a whole number.
    #[must_use]
    pub fn mul(&self, factor: i64) -> Self {
        Self { mantissa: self.mantissa.saturating_mul(factor.into()), text: None, ..*self }
    }

    /// The amount with the opposite sign.
    #[must_use]
    pub fn neg(&self) -> Self {
        Self { mantissa: self.mantissa.saturating_neg(), text: None, ..*self }
    }

    /// Rounds away from zero to whole units of 10^`scale`.
    #[must_use]
    pub fn round_up(&self, scale: i32) -> Self {
        let mut rounded = self.clone();
        rounded.round_to(scale);
        rounded
    }

    fn combine(&self, other: &Self, operation: fn(i128, i128) -> i128) -> Self {
        let scale = self.scale.min(other.scale);
        let format = if self.is_zero() { other.format } else { self.format };
        Self { mantissa: operation(self.scaled(scale), other.scaled(scale)), scale, format, text: None }
    }

    fn round_to(&mut self, scale: i32) {
        if self.scale < scale {
            (self.mantissa, self.scale) = (self.scaled(scale), scale);
            self.text = None;
        }
    }

    fn abs_less_than_one(&self) -> bool {
        self.scale < 0
            && 10u128
                .checked_pow(self.scale.unsigned_abs())
                .is_none_or(|one| self.mantissa.unsigned_abs() < one)
    }

    /// Whether the amount is a whole number, and which.
    fn whole(&self) -> Option<i128> {
        let value = self.value();
        (rescale(value, 0, self.scale.min(0)) == self.scaled(self.scale.min(0))).then_some(value)
    }
}

/// Changes the unit from 10^`from` to 10^`to`, rounding away from zero, saturating.
fn rescale(mantissa: i128, from: i32, to: i32) -> i128 {
    let limit = if mantissa < 0 { i128::MIN } else { i128::MAX };
    if mantissa == 0 || from == to {
        return mantissa;
    }
    let factor = 10i128.checked_pow(from.abs_diff(to));
    if from > to {
        return factor.and_then(|f| mantissa.checked_mul(f)).unwrap_or(limit);
    }
    let Some(factor) = factor else { return mantissa.signum() };
    let (quotient, rest) = (mantissa / factor, mantissa % factor);
    if rest == 0 { quotient } else { quotient + mantissa.signum() }
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(QuantityError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let not_digit = |c: char| !c.is_ascii_digit();
    let (whole, rest) = rest.split_at(rest.find(not_digit).unwrap_or(rest.len()));
    let (fraction, tail) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(not_digit).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let letters = tail.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    if !exponent.bytes().all(|b| b.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, whole: whole.trim_start_matches('0'), fraction, suffix: tail })
}

fn without_zeros(mut mantissa: i128) -> i128 {
    while mantissa != 0 && mantissa % 10 == 0 {
        mantissa /= 10;
    }
    mantissa
}

/// Base, exponent and family of a suffix.
fn suffix(text: &str) -> Option<(u8, i32, Format)> {
    use Format::{BinarySi, DecimalSi};
    Some(match text {
        "n" => (10, -9, DecimalSi),
        "u" => (10, -6, DecimalSi),
        "m" => (10, -3, DecimalSi),
        "" => (10, 0, DecimalSi),
        "k" => (10, 3, DecimalSi),
        "M" => (10, 6, DecimalSi),
        "G" => (10, 9, DecimalSi),
        "T" => (10, 12, DecimalSi),
        "P" => (10, 15, DecimalSi),
        "E" => (10, 18, DecimalSi),
        "Ki" => (2, 10, BinarySi),
        "Mi" => (2, 20, BinarySi),
        "Gi" => (2, 30, BinarySi),
        "Ti" => (2, 40, BinarySi),
        "Pi" => (2, 50, BinarySi),
        "Ei" => (2, 60, BinarySi),
        _ => (10, text.strip_prefix(['e', 'E'])?.parse().ok()?, Format::DecimalExponent),
    })
}

fn amount(parts: &Parts<'_>, base: u8, exponent: i32) -> Result<Quantity, QuantityError> {
    // Zeros at the end of the fraction say nothing and cost digits.
    let fraction = parts.fraction.trim_end_matches('0');
    let mut mantissa: i128 = 0;
    for digit in parts.whole.bytes().chain(fraction.bytes()) {
        let digit = i128::from(digit - b'0');
        mantissa =
            mantissa.checked_mul(10).and_then(|m| m.checked_add(digit)).ok_or(QuantityError::Numeric)?;
    }
    if without_zeros(mantissa) > SIGNIFICANT_MAX {
        return Err(QuantityError::Numeric);
    }
    let places = i32::try_from(fraction.len()).map_err(|_| QuantityError::Numeric)?;
    let scale = if base == 10 {
        exponent.checked_sub(places).ok_or(QuantityError::Numeric)?
    } else {
        mantissa = mantissa.saturating_mul(1i128 << exponent);
        -places
    };
    let mantissa = if parts.negative { -mantissa } else { mantissa };
    Ok(Quantity { mantissa, scale, ..Quantity::default() })
}

/// Whether upstream's parser takes this text for canonical and keeps it.
fn keeps_spelling(parts: &Parts<'_>, exponent: i32, format: Format) -> bool {
    let whole = if parts.whole.is_empty() { "0" } else { parts.whole };
    let digits = whole.len() + parts.fraction.len();
    if format == Format::BinarySi {
        // Below 15 digits less those of the suffix; then odd in units of eight means that no larger suffix fits.
        let room = 14 - digits as i32 - exponent * 3 / 10;
        let value: Option<u64> = whole.parse().ok();
        return parts.fraction.is_empty() && room >= 0 && value.is_some_and(|v| v & 7 != 0);
    }
    let scale = i64::from(exponent) - parts.fraction.len() as i64;
    let shifted = format!("{whole}{}", parts.fraction);
    digits <= FAST_DIGITS
        && scale >= i64::from(NANO)
        && scale % 3 == 0
        && !shifted.ends_with("000")
        && !shifted.starts_with('0')
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && let Some(value) = self.whole().filter(|v| v.abs() >= 1024)
        {
            return write_binary(f, value);
        }
        write_decimal(f, self.mantissa, self.scale, self.format == Format::DecimalExponent)
    }
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut value: i128) -> fmt::Result {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut step = 0;
    while value % 1024 == 0 && step + 1 < SUFFIXES.len() {
        value /= 1024;
        step += 1;
    }
    write!(f, "{value}{}", SUFFIXES[step])
}

fn write_decimal(
    f: &mut fmt::Formatter<'_>,
    mut mantissa: i128,
    mut scale: i32,
    exponent: bool,
) -> fmt::Result {
    while mantissa % 10 == 0 {
        mantissa /= 10;
        scale += 1;
    }
    // Upstream loses the suffix above `E`; here the number grows instead.
    let target = if exponent { scale } else { scale.min(LARGEST_SUFFIX) };
    let target = target - target.rem_euclid(3);
    for _ in target..scale {
        mantissa = mantissa.saturating_mul(10);
    }
    if exponent {
        return if target == 0 { write!(f, "{mantissa}") } else { write!(f, "{mantissa}e{target}") };
    }
    let suffix = match target {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => "",
    };
    write!(f, "{mantissa}{suffix}")
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if by_sign != Ordering::Equal || self.mantissa == 0 {
            return by_sign;
        }
        let scale = self.scale.min(other.scale);
        self.scaled(scale).cmp(&other.scaled(scale))
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
