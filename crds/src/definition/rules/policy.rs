//! Rules of a ShopPolicy. What they cannot say (a 30 February, a zone that does not exist) is its condition `Accepted`.

use super::{NAME, Rule, SPAN, between};

/// Parts of an RRULE that may follow FREQ.
const PARTS: &str = "INTERVAL|BYMONTH|BYMONTHDAY|BYDAY|BYSETPOS|WKST|COUNT|UNTIL";

pub(super) fn rules() -> Vec<Rule> {
    let rule = |path, rule: String, message: &str| Rule {
        kind: "ShopPolicy",
        path,
        rule,
        message: message.to_owned(),
    };
    vec![
        rule(
            "spec.freeze[].name",
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')".into(),
            "write a name of lower-case letters, digits and '-', as in black-friday",
        ),
        rule(
            "spec.freeze[].start",
            "self.matches('^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$')"
                .into(),
            "write a local date and time without a zone, as in 2026-11-27T18:00:00; the zone stands in timeZone",
        ),
        rule(
            "spec.freeze[].duration",
            format!("self.matches('^([1-9]|[12][0-9]|3[01])d$') || self.matches({SPAN}) && {}", between("1m", "744h")),
            "write a duration from 1m to 31d: hours and minutes, as in 8h or 1h30m, or whole days, as in 3d",
        ),
        rule(
            "spec.freeze[].rrule",
            format!("self.matches('^FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;({PARTS})=[A-Z0-9,+-]+)*$')"),
            "write a rule of RFC 5545 that begins with FREQ=DAILY, WEEKLY, MONTHLY or YEARLY, followed by INTERVAL, BYMONTH, \
             BYMONTHDAY, BYDAY, BYSETPOS, WKST, COUNT or UNTIL, as in FREQ=MONTHLY;BYDAY=-1FR",
        ),
        rule(
            "spec.freeze[].timeZone",
            "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')".into(),
            "write the IANA name of a time zone, as in Europe/Berlin or UTC",
        ),
        rule(
            "spec.freeze[].services[]",
            format!("self.matches({NAME})"),
            "write names of ShopServices, as in order, or leave services out for all of them",
        ),
    ]
}
