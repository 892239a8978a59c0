//! A percentage as people write it: `5%`, `0.1%`, `99.95%`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A percentage from 0% to 100%, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

/// What a percentage must look like; the schema's pattern too.
const PATTERN: &str = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)%$";

/// Why a text is no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no percentage; write a number from 0 to 100 with at most two decimals and the sign, as in 5%, 0.1%, 99.95%"
)]
pub struct InvalidPercent(String);

impl Percent {
    /// All of it.
    pub const ALL: Self = Self(10_000);

    /// Of so many parts per 10,000; more than all of them counts as all.
    pub const fn parts(parts: u32) -> Self {
        if parts > 10_000 { Self::ALL } else { Self(parts) }
    }

    /// In parts per 10,000: 0 to 10,000.
    pub const fn per_10_000(self) -> u32 {
        self.0
    }

    /// As a fraction: 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// This share of a whole number, rounded up, so that a share above zero is at least one of anything; 0 of less than one.
    pub fn of(self, whole: i32) -> i32 {
        let parts = i64::from(whole.max(0)) * i64::from(self.0);
        i32::try_from(parts.div_euclid(10_000) + i64::from(parts % 10_000 > 0)).unwrap_or(i32::MAX)
    }
}

impl FromStr for Percent {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        let invalid = || InvalidPercent(text.chars().take(40).collect());
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.strip_suffix('%').ok_or_else(invalid)?;
        let (whole, decimals) = match number.split_once('.') {
            Some((whole, decimals)) if (1..=2).contains(&decimals.len()) => (whole, decimals),
            Some(_) => return Err(invalid()),
            None => (number, "0"),
        };
        if !(1..=3).contains(&whole.len()) || !digits(whole) || !digits(decimals) {
            return Err(invalid());
        }
        let whole: u32 = whole.parse().map_err(|_| invalid())?;
        let hundredths: u32 = format!("{decimals:0<2}").parse().map_err(|_| invalid())?;
        let parts = whole * 100 + hundredths;
        if parts > Self::ALL.0 { Err(invalid()) } else { Ok(Self(parts)) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match (rest, rest % 10) {
            (0, _) => write!(out, "{whole}%"),
            (_, 0) => write!(out, "{whole}.{}%", rest / 10),
            _ => write!(out, "{whole}.{rest:02}%"),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 7 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, parts, written) in [
            ("5%", 500, "5%"),
            ("0.1%", 10, "0.1%"),
            ("0.01%", 1, "0.01%"),
            ("99.95%", 9_995, "99.95%"),
            ("99.50%", 9_950, "99.5%"),
            ("05%", 500, "5%"),
            ("0%", 0, "0%"),
            ("100%", 10_000, "100%"),
            ("100.0%", 10_000, "100%"),
        ] {
            let percent: Percent = text.parse().unwrap();
            assert_eq!((percent.per_10_000(), percent.to_string().as_str()), (parts, written), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_an_example() {
        for text in ["", "5", "%", "5 %", "-5%", "+5%", "101%", "100.01%", "0.001%", ".5%", "5.%", "0005%"] {
            assert!(text.parse::<Percent>().unwrap_err().to_string().contains("as in 5%"), "{text}");
        }
    }

    #[test]
    fn a_share_of_pods_is_rounded_up() {
        for (text, whole, share) in
            [("50%", 3, 2), ("0.01%", 3, 1), ("0%", 3, 0), ("100%", 3, 3), ("5%", 0, 0)]
        {
            assert_eq!(text.parse::<Percent>().unwrap().of(whole), share, "{text} of {whole}");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(parts in 0_u32..=10_000) {
            let percent = Percent::parts(parts);
            prop_assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
        }
    }
}
