//! A Kubernetes quantity as people write it: `300m`, `512Mi`, or a bare number.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A quantity, kept as written; the API server checks its form by [`PATTERN`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub String);

const PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

impl Amount {
    /// The quantity in whole units (bytes for memory), rounded up; `None` where it is no quantity or too large.
    pub fn units(&self) -> Option<u64> {
        let digits = self.0.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = self.0.split_at(digits);
        let factor = match unit {
            "m" => 0.001,
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "Ki" => 1_024.0,
            "Mi" => 1_048_576.0,
            "Gi" => 1_073_741_824.0,
            "Ti" => 1_099_511_627_776.0,
            _ => return None,
        };
        let units = (number.parse::<f64>().ok()? * factor).ceil();
        // Above 2^53 a float has no exact integers; no quantity of a pod is that large.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (0.0..=9_007_199_254_740_992.0).contains(&units).then_some(units as u64)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Amount;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a quantity such as 300m, 512Mi or 2")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_units() {
        for (text, units) in [("64Mi", 67_108_864), ("300m", 1), ("2", 2), ("1.5k", 1_500)] {
            assert_eq!(Amount(text.into()).units(), Some(units), "{text}");
        }
        assert_eq!(Amount("many".into()).units(), None);
    }

    #[test]
    fn takes_a_bare_number() {
        assert_eq!(serde_json::from_str::<Amount>("2").unwrap(), Amount("2".into()));
    }
}
