//! How faults are written: `--fault error-rate=0.5 --fault latency=200ms`, or the same with commas in `SHOP_FAULT`.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

/// One fault, as asked for at start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// `/readyz` answers 503.
    NotReady,
    /// `/readyz` answers 503 from this long after the start.
    NotReadyAfter(Duration),
    /// This share of API answers is a 500.
    ErrorRate(f64),
    /// Every API answer is this late.
    Latency(Duration),
    /// The process ends with code 1 this long after the start.
    CrashAfter(Duration),
    /// The process ends with code 1 before it listens.
    CrashAtStart,
    /// The process runs and never opens its port.
    NeverListen,
    /// Faults are switched while it runs, by requests to `/faults`.
    Switchable,
}

/// How one fault is written and what it does.
struct Form {
    name: &'static str,
    example: &'static str,
    help: &'static str,
}

const FORMS: [Form; 8] = [
    Form { name: "not-ready", example: "not-ready", help: "/readyz answers 503; nothing else changes" },
    Form {
        name: "not-ready-after",
        example: "not-ready-after=10s",
        help: "the same, from this long after the start",
    },
    Form {
        name: "error-rate",
        example: "error-rate=0.5",
        help: "this share of API answers is a 500 (gRPC: INTERNAL), never health",
    },
    Form { name: "latency", example: "latency=200ms", help: "every API answer is this late, never health" },
    Form {
        name: "crash-after",
        example: "crash-after=5s",
        help: "ends with code 1 this long after the start",
    },
    Form { name: "crash-at-start", example: "crash-at-start", help: "ends with code 1 before it listens" },
    Form { name: "never-listen", example: "never-listen", help: "runs and never opens its port" },
    Form {
        name: "switchable",
        example: "switchable",
        help: "POST and DELETE /faults/not-ready and /faults/error switch them on and off, POST /faults/crash ends with code 1",
    },
];

/// Why a fault was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No fault has this name.
    #[error("there is no fault `{name}`; there are: {list}", name = .0, list = examples())]
    Unknown(String),
    /// The fault needs a value.
    #[error("`{0}` needs a value, as in `{1}`")]
    Missing(&'static str, &'static str),
    /// The fault takes no value.
    #[error("`{0}` takes no value")]
    Unexpected(&'static str),
    /// The value is not a duration.
    #[error("`{0}` is not a duration: write a whole number and ms, s, m or h, as in `{1}`")]
    Duration(String, &'static str),
    /// The value is not a share.
    #[error("`{0}` is not a share from 0 to 1, as in `error-rate=0.5`")]
    Share(String),
}

fn examples() -> String {
    FORMS.iter().map(|form| form.example).collect::<Vec<_>>().join(", ")
}

/// The text of `--help` about faults.
pub fn describe() -> String {
    let mut text =
        "A fault to serve with; may be repeated, and several may be joined by commas:\n".to_owned();
    for form in &FORMS {
        let _ = write!(text, "\n  {:<22} {}", form.example, form.help);
    }
    text.push('\n');
    text
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        let form = FORMS
            .iter()
            .find(|form| form.name == name)
            .ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
        let given = || value.ok_or(FaultError::Missing(form.name, form.example));
        let duration = || given().and_then(|value| parse_duration(value, form.example));
        let fault = match form.name {
            "not-ready-after" => return duration().map(Self::NotReadyAfter),
            "error-rate" => return given().and_then(parse_share).map(Self::ErrorRate),
            "latency" => return duration().map(Self::Latency),
            "crash-after" => return duration().map(Self::CrashAfter),
            "not-ready" => Self::NotReady,
            "crash-at-start" => Self::CrashAtStart,
            "never-listen" => Self::NeverListen,
            _ => Self::Switchable,
        };
        if value.is_some() { Err(FaultError::Unexpected(form.name)) } else { Ok(fault) }
    }
}

fn parse_share(text: &str) -> Result<f64, FaultError> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| FaultError::Share(text.to_owned()))
}

fn parse_duration(text: &str, example: &'static str) -> Result<Duration, FaultError> {
    let refused = || FaultError::Duration(text.to_owned(), example);
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u32 = number.parse().map_err(|_| refused())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(60 * u64::from(number))),
        "h" => Ok(Duration::from_secs(3600 * u64::from(number))),
        _ => Err(refused()),
    }
}

/// Faults joined by commas; an empty text is none, so that an empty `SHOP_FAULT` is fine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultList(pub Vec<Fault>);

impl FromStr for FaultList {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_understood_and_in_the_documentation() {
        let readme = include_str!("../../../README.md");
        for form in &FORMS {
            form.example.parse::<Fault>().unwrap_or_else(|error| panic!("{}: {error}", form.example));
            assert!(
                readme.contains(&format!("| `{}` |", form.example)),
                "services/README.md lacks {}",
                form.example
            );
            assert!(describe().contains(form.example));
        }
    }

    #[test]
    fn lists_are_joined_by_commas() {
        let list: FaultList = "latency=200ms, error-rate=0.5".parse().unwrap();
        assert_eq!(list.0, [Fault::Latency(Duration::from_millis(200)), Fault::ErrorRate(0.5)]);
        assert_eq!("".parse(), Ok(FaultList::default()));
    }

    #[test]
    fn what_is_wrong_says_what_to_write() {
        for (text, expected) in [
            ("slow", "there is no fault `slow`; there are: not-ready, not-ready-after=10s, error-rate=0.5"),
            ("latency", "`latency` needs a value, as in `latency=200ms`"),
            ("latency=200", "`200` is not a duration"),
            ("crash-after=5 days", "`5 days` is not a duration"),
            ("crash-after=99999999999s", "is not a duration"),
            ("error-rate=2", "`2` is not a share from 0 to 1"),
            ("error-rate=NaN", "`NaN` is not a share from 0 to 1"),
            ("not-ready=yes", "`not-ready` takes no value"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
