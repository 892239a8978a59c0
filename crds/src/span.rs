//! A length of time as people write it: `200ms`, `5s`, `10m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time in whole milliseconds, at most 365 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// What a span must look like; the schema's pattern too.
pub(crate) const PATTERN: &str = r"^([0-9]{1,9}(ms|s|m|h|d))+$";
const MAX: Duration = Duration::from_hours(365 * 24);

/// Why a text is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; write a number and a unit, as in 200ms, 5s, 10m, 1h30m (at most 365d)")]
pub struct InvalidSpan(String);

impl Span {
    /// Of so many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Of so many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole seconds, rounded up: what Kubernetes wants in its own fields.
    pub fn whole_secs(self) -> i64 {
        i64::try_from(self.0.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.chars().take(40).collect());
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, next) = after.split_at(letters);
            let factor: u64 = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(invalid()),
            };
            let number: u64 = number.parse().map_err(|_| invalid())?;
            total =
                number.checked_mul(factor).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
            rest = next;
        }
        let span = Duration::from_millis(total);
        if text.is_empty() || span > MAX { Err(invalid()) } else { Ok(Self(span)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return out.write_str("0s");
        }
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= millis {
                write!(out, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 40 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in
            [("200ms", 200), ("5s", 5_000), ("1h30m", 5_400_000), ("0s", 0), ("90m", 5_400_000)]
        {
            assert_eq!(text.parse::<Span>().unwrap(), Span::millis(millis), "{text}");
        }
        assert_eq!(Span::millis(5_400_000).to_string(), "1h30m");
        assert_eq!(Span::millis(1_001).whole_secs(), 2);
    }

    #[test]
    fn refuses_the_rest_with_an_example() {
        for text in ["", "5", "s", "5 s", "-5s", "5sec", "1.5s", "366d", "99999999999999999999s"] {
            assert!(text.parse::<Span>().unwrap_err().to_string().contains("as in 200ms"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(millis in 0_u64..=365 * 86_400_000) {
            let span = Span::millis(millis);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }
}
