//! Amounts of money as whole micro-units, never as floats. 1 cent is 10,000 micro-units and 1 USD
//! is 1,000,000. The limit [`Micros::MAX`] ensures that every value is exact as a JSON number.

use std::fmt;

const MICROS_PER_CENT: i64 = 10_000;
/// Number of decimal places of an amount in cents that micro-units can express.
const CENT_DECIMALS: i64 = 4;
/// Maximum number of digits of an amount in micro-units.
const DIGITS_MAX: usize = 16;

/// An amount in micro-units, between -10^15 and 10^15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

/// The reason why a string is not a valid amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    #[error("the amount is not a decimal number")]
    NotANumber,
    #[error("the amount has more than four decimal places")]
    TooPrecise,
    #[error("the amount is outside -100000000000 to 100000000000 cents")]
    OutOfRange,
}

/// An amount from a caller, or the reason why it is not valid.
pub type GivenAmount = Result<Micros, InvalidAmount>;

impl Micros {
    pub const ZERO: Self = Self(0);
    /// The limit of every amount, balance and total: a billion dollars.
    pub const MAX: Self = Self(1_000_000_000_000_000);

    /// Creates an amount; `None` if the number is outside the limits.
    pub fn new(micros: i64) -> Option<Self> {
        (micros.unsigned_abs() <= Self::MAX.0.unsigned_abs()).then_some(Self(micros))
    }

    /// Creates an amount from a number in the database.
    ///
    /// # Panics
    /// If the amount is outside the limits. CHECK constraints in the database prevent this.
    pub fn from_db(micros: i64) -> Self {
        Self::new(micros).expect("CHECK constraints keep stored amounts within the limit")
    }

    pub const fn from_cents(cents: i32) -> Self {
        Self(cents as i64 * MICROS_PER_CENT)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    /// Returns the sum; `None` if it is outside the limits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    /// Returns the difference; `None` if it is outside the limits.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::new)
    }

    /// Returns the product; `None` if it is outside the limits.
    pub fn checked_mul(self, factor: i32) -> Option<Self> {
        self.0.checked_mul(i64::from(factor)).and_then(Self::new)
    }

    /// Parses an amount in cents from decimal text in the format of JSON numbers: `4500`, `0.04`, `4500.0`, `4.5e3`.
    pub fn from_cents_text(text: &str) -> GivenAmount {
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, exponent.parse::<i64>().map_err(|_| exponent_fault(mantissa, exponent))?)
            }
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let ends_with_point = fraction.is_empty() && mantissa.ends_with('.');
        if whole.is_empty() || ends_with_point || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(InvalidAmount::NotANumber);
        }

        let decimals = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(Self::ZERO);
        }
        let trimmed = significant.trim_end_matches('0');
        let zeros = i64::try_from(significant.len() - trimmed.len()).unwrap_or(i64::MAX);
        // In micro-units, the value is `trimmed` times ten to the power of `scale`.
        let scale =
            exponent.saturating_sub(decimals).saturating_add(zeros).saturating_add(CENT_DECIMALS);
        let Ok(scale) = u32::try_from(scale) else {
            return Err(InvalidAmount::TooPrecise);
        };
        if trimmed.len().saturating_add(scale as usize) > DIGITS_MAX {
            return Err(InvalidAmount::OutOfRange);
        }
        let magnitude: i64 = trimmed.parse().map_err(|_| InvalidAmount::OutOfRange)?;
        let micros = magnitude * 10_i64.pow(scale);
        Self::new(if is_negative { -micros } else { micros }).ok_or(InvalidAmount::OutOfRange)
    }

    pub fn is_whole_cents(self) -> bool {
        self.0 % MICROS_PER_CENT == 0
    }

    /// Returns the amount in dollars with at least two decimal places, such as `$500.50` or `$0.0004`.
    fn to_dollars_text(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let per_dollar = 100 * MICROS_PER_CENT.unsigned_abs();
        let mut text = format!("{sign}${}.{:06}", micros / per_dollar, micros % per_dollar);
        let zeros = text.len() - text.trim_end_matches('0').len();
        text.truncate(text.len() - zeros.min(4));
        text
    }

    /// Returns the exact amount in cents, with up to four decimal places if needed.
    pub fn to_cents_text(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let whole = micros / MICROS_PER_CENT.unsigned_abs();
        let fraction = micros % MICROS_PER_CENT.unsigned_abs();
        let mut text = format!("{sign}{whole}.{fraction:04}");
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        text
    }
}

/// Returns the error for an exponent that cannot be parsed. If the exponent only has too many digits, its sign
/// determines the error.
fn exponent_fault(mantissa: &str, exponent: &str) -> InvalidAmount {
    let digits = exponent.trim_start_matches(['+', '-']);
    if mantissa.is_empty() || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        InvalidAmount::NotANumber
    } else if exponent.starts_with('-') {
        InvalidAmount::TooPrecise
    } else {
        InvalidAmount::OutOfRange
    }
}

impl std::ops::Neg for Micros {
    type Output = Self;

    /// Returns the amount with the opposite sign. The limits are symmetric, so the result is always a valid amount.
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

/// Formats the amount as human-readable text, in cents and dollars.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cents ({})", self.to_cents_text(), self.to_dollars_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_displayed_in_cents_and_dollars() {
        for (micros, text) in [
            (0, "0 cents ($0.00)"),
            (500_500_000, "50050 cents ($500.50)"),
            (-5_000_000, "-500 cents (-$5.00)"),
            (400, "0.04 cents ($0.0004)"),
            (8_300, "0.83 cents ($0.0083)"),
            (1, "0.0001 cents ($0.000001)"),
            (10_000_000, "1000 cents ($10.00)"),
        ] {
            assert_eq!(Micros::new(micros).expect("it is in range").to_string(), text);
        }
    }

    #[test]
    fn decimal_text_is_parsed_exactly() {
        for (text, micros) in [
            ("0", 0),
            ("-0.0", 0),
            ("4500", 45_000_000),
            ("4500.0", 45_000_000),
            ("4.5e3", 45_000_000),
            ("4.5E+3", 45_000_000),
            ("45000e-1", 45_000_000),
            ("0.04", 400),
            ("0.0001", 1),
            ("-12.3456", -123_456),
            ("100000000000", 1_000_000_000_000_000),
            ("99999999999.9999", 999_999_999_999_999),
        ] {
            assert_eq!(Micros::from_cents_text(text), Ok(Micros(micros)), "{text}");
        }
    }

    #[test]
    fn each_invalid_amount_has_its_error() {
        for (text, fault) in [
            ("0.00001", InvalidAmount::TooPrecise),
            ("4500.00000000000000001", InvalidAmount::TooPrecise),
            ("1e-400", InvalidAmount::TooPrecise),
            ("1e-99999999999999999999", InvalidAmount::TooPrecise),
            ("100000000000.0001", InvalidAmount::OutOfRange),
            ("9223372036854775807", InvalidAmount::OutOfRange),
            ("-9223372036854775808", InvalidAmount::OutOfRange),
            ("1e400", InvalidAmount::OutOfRange),
            ("1e99999999999999999999", InvalidAmount::OutOfRange),
            ("", InvalidAmount::NotANumber),
            ("NaN", InvalidAmount::NotANumber),
            ("Infinity", InvalidAmount::NotANumber),
            ("1.2.3", InvalidAmount::NotANumber),
            ("+5", InvalidAmount::NotANumber),
            ("5.", InvalidAmount::NotANumber),
            ("5.e3", InvalidAmount::NotANumber),
            (".", InvalidAmount::NotANumber),
            ("5e", InvalidAmount::NotANumber),
            ("--5", InvalidAmount::NotANumber),
        ] {
            assert_eq!(Micros::from_cents_text(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn an_amount_survives_formatting_and_parsing() {
        for micros in [0, 1, -1, 400, 9_999, 10_000, 10_001, -123_456, 999_999_999_999_999] {
            let amount = Micros(micros);
            assert_eq!(Micros::from_cents_text(&amount.to_cents_text()), Ok(amount));
        }
        assert_eq!(Micros(400).to_cents_text(), "0.04");
        assert_eq!(Micros(45_000_000).to_cents_text(), "4500");
        assert_eq!(Micros(-5_000).to_cents_text(), "-0.5");
    }

    #[test]
    fn results_beyond_the_limit_are_none() {
        assert_eq!(Micros::MAX.checked_add(Micros(1)), None);
        assert_eq!((-Micros::MAX).checked_sub(Micros(1)), None);
        assert_eq!(Micros::MAX.checked_mul(2), None);
        assert_eq!(Micros(2).checked_mul(3), Some(Micros(6)));
        assert_eq!(Micros::new(i64::MIN), None);
    }
}
