//! DynamoDB's numbers: up to 38 significant decimal digits, magnitudes from 1E-130 to 9.99…E+125, exact, printed in full.

use std::cmp::Ordering;
use std::str::FromStr;

/// Digits that a number may have.
const DIGITS: u32 = 38;

/// ±`digits` × 10^`exponent`; `digits` has no trailing zero, and zero is positive with exponent 0, so that equal numbers are equal here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    digits: u128,
    exponent: i32,
}

/// Why a text is no number of DynamoDB's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    Syntax(String),
    Precision,
    TooLarge,
    TooSmall,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bad::Syntax(text) => write!(f, "The parameter cannot be converted to a numeric value: {text}"),
            Bad::Precision => write!(f, "Attempting to store more than 38 significant digits in a Number"),
            Bad::TooLarge => write!(f, "Number overflow. Attempting to store a number with magnitude larger than supported range"),
            Bad::TooSmall => write!(f, "Number underflow. Attempting to store a number with magnitude smaller than supported range"),
        }
    }
}

fn length(digits: u128) -> u32 {
    digits.checked_ilog10().map_or(1, |log| log + 1)
}

impl Number {
    fn checked(negative: bool, mut digits: u128, mut exponent: i32) -> Result<Self, Bad> {
        if digits == 0 {
            return Ok(Self { negative: false, digits: 0, exponent: 0 });
        }
        while digits.is_multiple_of(10) {
            digits /= 10;
            exponent += 1;
        }
        if length(digits) > DIGITS {
            return Err(Bad::Precision);
        }
        // The exponent of the first digit.
        match exponent + length(digits) as i32 - 1 {
            126.. => Err(Bad::TooLarge),
            ..-130 => Err(Bad::TooSmall),
            _ => Ok(Self { negative, digits, exponent }),
        }
    }

    fn signed(self) -> i128 {
        // 38 digits are below 2^127.
        if self.negative { -(self.digits as i128) } else { self.digits as i128 }
    }

    /// The sum, or why it can't be stored.
    pub fn add(self, other: Self) -> Result<Self, Bad> {
        if self.digits == 0 {
            return Ok(other);
        }
        if other.digits == 0 {
            return Ok(self);
        }
        let (high, low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let shift = (high.exponent - low.exponent) as u32;
        let lifted = 10i128.checked_pow(shift).and_then(|factor| high.signed().checked_mul(factor)).ok_or(Bad::Precision)?;
        let sum = lifted.checked_add(low.signed()).ok_or(Bad::Precision)?;
        Self::checked(sum < 0, sum.unsigned_abs(), low.exponent)
    }

    pub fn subtract(self, other: Self) -> Result<Self, Bad> {
        self.add(Self { negative: !other.negative && other.digits != 0, ..other })
    }

    /// Bytes that it takes in an item: about half its digits.
    pub fn size(&self) -> usize {
        length(self.digits).div_ceil(2) as usize + 1 + usize::from(self.negative)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::checked(false, number as u128, 0).expect("20 digits at most")
    }
}

impl FromStr for Number {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = || Bad::Syntax(text.to_owned());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() < 100_000).ok_or_else(bad)?),
            None => (text, 0),
        };
        let (negative, unsigned) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let all = format!("{whole}{fraction}");
        let leading = all.trim_start_matches('0');
        let kept = leading.trim_end_matches('0');
        if kept.len() > DIGITS as usize {
            return Err(Bad::Precision);
        }
        let digits = if kept.is_empty() { 0 } else { kept.parse().map_err(|_| bad())? };
        Self::checked(negative, digits, exponent - fraction.len() as i32 + (leading.len() - kept.len()) as i32)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let digits = self.digits.to_string();
        if self.exponent >= 0 {
            return write!(f, "{sign}{digits}{}", "0".repeat(self.exponent as usize));
        }
        let point = digits.len() as i32 + self.exponent;
        if point > 0 {
            let (whole, fraction) = digits.split_at(point as usize);
            write!(f, "{sign}{whole}.{fraction}")
        } else {
            write!(f, "{sign}0.{}{digits}", "0".repeat(-point as usize))
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| if number.digits == 0 { 0 } else { 1 - 2 * i32::from(number.negative) };
        let by_sign = sign(self).cmp(&sign(other));
        if by_sign != Ordering::Equal || self.digits == 0 {
            return by_sign;
        }
        let first = |number: &Self| number.exponent + length(number.digits) as i32;
        // Both as 38 digits: those of the same first place compare as integers.
        let padded = |number: &Self| number.digits * 10u128.pow(DIGITS - length(number.digits));
        let magnitude = first(self).cmp(&first(other)).then_with(|| padded(self).cmp(&padded(other)));
        if self.negative { magnitude.reverse() } else { magnitude }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().expect(text)
    }

    #[test]
    fn numbers_are_exact_and_print_in_full_without_idle_zeros() {
        for (text, printed) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1.50", "1.5"),
            ("+007", "7"),
            ("1e3", "1000"),
            ("12.5E-3", "0.0125"),
            ("-1200", "-1200"),
            (".5", "0.5"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(number(text).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_dynamodb_cannot_store_is_refused() {
        for (text, bad) in [
            ("123456789012345678901234567890123456789", Bad::Precision),
            ("1E126", Bad::TooLarge),
            ("1E-131", Bad::TooSmall),
            ("", Bad::Syntax("".into())),
            ("1 ", Bad::Syntax("1 ".into())),
            ("NaN", Bad::Syntax("NaN".into())),
            ("--1", Bad::Syntax("--1".into())),
            (".", Bad::Syntax(".".into())),
            ("0x1", Bad::Syntax("0x1".into())),
        ] {
            assert_eq!(text.parse::<Number>(), Err(bad), "{text}");
        }
        assert_eq!(number("99999999999999999999999999999999999999").add(number("0.1")), Err(Bad::Precision));
    }

    #[test]
    fn sums_and_order_agree_with_integers() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let (a, b) = (random.i64(-1_000_000..1_000_000), random.i64(-1_000_000..1_000_000));
            let (x, y) = (number(&a.to_string()), number(&b.to_string()));
            assert_eq!(x.add(y).map(|sum| sum.to_string()), Ok((a + b).to_string()));
            assert_eq!(x.subtract(y).map(|sum| sum.to_string()), Ok((a - b).to_string()));
            assert_eq!(x.cmp(&y), a.cmp(&b));
        }
        assert!(number("0.1") < number("0.11") && number("-2") < number("-1.9") && number("1e100") > number("9e99"));
    }
}
