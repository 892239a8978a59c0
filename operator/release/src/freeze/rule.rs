//! Recurrence rules of RFC 5545 (3.3.10), as far as a freeze window needs them: at most one window a day.
//!
//! A rule is not walked through from its start, as libraries do, but asked about single days: which days belong to it follows
//! from the calendar alone, so that a rule of ten years ago costs as much as one of today, and none can run for ever. Only COUNT
//! asks for the days since the start.

use std::str::FromStr;

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Weekday, date},
    tz::TimeZone,
};

/// Most windows that COUNT may ask for.
const MOST: i64 = 10_000;
/// Largest INTERVAL.
const LONGEST_STEP: i64 = 1_000;

/// A rule, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    every: Every,
    interval: i64,
    months: Vec<i8>,
    month_days: Vec<i8>,
    days: Vec<(i16, Weekday)>,
    positions: Vec<i16>,
    week_starts: Weekday,
    count: Option<i64>,
    until: Option<Until>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Every {
    Day,
    Week,
    Month,
    Year,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Day(Date),
    Local(DateTime),
    Utc(DateTime),
}

impl FromStr for Rule {
    type Err = String;

    /// Reads a rule; the error says what to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(';');
        let every = match parts.next().unwrap_or_default() {
            "FREQ=DAILY" => Every::Day,
            "FREQ=WEEKLY" => Every::Week,
            "FREQ=MONTHLY" => Every::Month,
            "FREQ=YEARLY" => Every::Year,
            other => {
                return Err(format!(
                    "{other:?} is no frequency; begin with FREQ=DAILY, FREQ=WEEKLY, FREQ=MONTHLY or FREQ=YEARLY"
                ));
            }
        };
        let mut rule = Self {
            every,
            interval: 1,
            months: Vec::new(),
            month_days: Vec::new(),
            days: Vec::new(),
            positions: Vec::new(),
            week_starts: Weekday::Monday,
            count: None,
            until: None,
        };
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} is no part of a rule; write NAME=VALUE, as in INTERVAL=2")
            })?;
            if seen.contains(&name) {
                return Err(format!("{name} stands there twice; write it once"));
            }
            seen.push(name);
            rule.part(name, value)?;
        }
        rule.agrees()?;
        Ok(rule)
    }
}

impl Rule {
    fn part(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "INTERVAL" => self.interval = number(name, value, 1, LONGEST_STEP)?,
            "COUNT" => self.count = Some(number(name, value, 1, MOST)?),
            "UNTIL" => self.until = Some(until(value)?),
            "WKST" => self.week_starts = weekday(value)?,
            "BYMONTH" => self.months = list(value, |one| number(name, one, 1, 12).map(narrow))?,
            "BYMONTHDAY" => self.month_days = list(value, |one| signed(name, one, 31).map(narrow))?,
            "BYSETPOS" => self.positions = list(value, |one| signed(name, one, 366).map(narrow))?,
            "BYDAY" => {
                self.days = list(value, |one| {
                    let (position, day) =
                        one.split_at_checked(one.len().saturating_sub(2)).ok_or_else(|| no_weekday(one))?;
                    let position = if position.is_empty() { 0 } else { signed(name, position, 53)? };
                    Ok((narrow(position), weekday(day)?))
                })?;
            }
            _ => {
                return Err(format!(
                    "{name} is not supported; write INTERVAL, BYMONTH, BYMONTHDAY, BYDAY, BYSETPOS, WKST, COUNT or UNTIL. The time of day is that of start"
                ));
            }
        }
        Ok(())
    }

    fn agrees(&self) -> Result<(), String> {
        let numbered = self.days.iter().any(|(position, _)| *position != 0);
        if numbered && matches!(self.every, Every::Day | Every::Week) {
            return Err("a numbered BYDAY, as in -1FR, goes with FREQ=MONTHLY or FREQ=YEARLY; write the weekday alone".into());
        }
        if !self.month_days.is_empty() && self.every == Every::Week {
            return Err("BYMONTHDAY does not go with FREQ=WEEKLY; write FREQ=MONTHLY, or BYDAY".into());
        }
        if self.count.is_some() && self.until.is_some() {
            return Err("COUNT and UNTIL do not go together; write one of them".into());
        }
        let chosen = !(self.months.is_empty() && self.month_days.is_empty() && self.days.is_empty());
        if !self.positions.is_empty() && !chosen {
            return Err("BYSETPOS chooses among days; write BYDAY, BYMONTHDAY or BYMONTH with it".into());
        }
        Ok(())
    }

    /// The days from `first` to `last` on which a window begins that starts for the first time at `start`.
    pub(super) fn days(&self, start: DateTime, zone: &TimeZone, first: Date, last: Date) -> Vec<Date> {
        let time = start.time();
        let in_time = |day: &Date| match self.until {
            None => true,
            Some(Until::Day(until)) => *day <= until,
            Some(Until::Local(until)) => day.to_datetime(time) <= until,
            Some(Until::Utc(until)) => {
                let until =
                    until.to_zoned(TimeZone::UTC).map(|until| until.with_time_zone(zone.clone()).datetime());
                until.is_ok_and(|until| day.to_datetime(time) <= until)
            }
        };
        let Some(count) = self.count else {
            let first = first.max(start.date());
            return days(first, last).filter(|day| self.is_on(start.date(), *day)).filter(in_time).collect();
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let all = days(start.date(), last).filter(|day| self.is_on(start.date(), *day)).take(count);
        all.filter(|day| *day >= first).collect()
    }

    /// Whether the rule, COUNT and UNTIL apart, is on this day.
    fn is_on(&self, start: Date, day: Date) -> bool {
        if !self.is_chosen(start, day) {
            return false;
        }
        if self.positions.is_empty() {
            return true;
        }
        let (first, last) = self.period(day);
        let chosen: Vec<Date> =
            days(first, last).filter(|one| self.is_chosen_by_parts(start, *one)).collect();
        let Some(at) = chosen.iter().position(|one| *one == day) else { return false };
        let forward = i16::try_from(at + 1).unwrap_or(i16::MAX);
        let backward = i16::try_from(chosen.len() - at).map_or(i16::MIN, |back| -back);
        self.positions.iter().any(|position| *position == forward || *position == backward)
    }

    fn is_chosen(&self, start: Date, day: Date) -> bool {
        day >= start && self.steps(start, day) % self.interval == 0 && self.is_chosen_by_parts(start, day)
    }

    /// Periods between the one of the start and the one of the day.
    fn steps(&self, start: Date, day: Date) -> i64 {
        let between = |from: Date, to: Date| i64::from(from.until(to).map_or(0, |span| span.get_days()));
        let (from, to) = (i64::from(start.year()), i64::from(day.year()));
        match self.every {
            Every::Day => between(start, day),
            Every::Week => between(self.week_of(start), self.week_of(day)) / 7,
            Every::Month => (to - from) * 12 + i64::from(day.month()) - i64::from(start.month()),
            Every::Year => to - from,
        }
    }

    fn is_chosen_by_parts(&self, start: Date, day: Date) -> bool {
        let any = |list: &[i8], value: i8| list.is_empty() || list.contains(&value);
        let of_month = |wanted: &i8| *wanted == day.day() || day.days_in_month() + wanted + 1 == day.day();
        let by_day = self.days.is_empty()
            || self.days.iter().any(|(position, weekday)| self.is_numbered(day, *position, *weekday));
        let by_month_day = self.month_days.is_empty() || self.month_days.iter().any(of_month);
        if !(any(&self.months, day.month()) && by_day && by_month_day) {
            return false;
        }
        // What the rule does not name is as in the start.
        if !self.days.is_empty() || !self.month_days.is_empty() {
            return true;
        }
        match self.every {
            Every::Day => true,
            Every::Week => day.weekday() == start.weekday(),
            Every::Month => day.day() == start.day(),
            Every::Year => {
                day.day() == start.day() && (!self.months.is_empty() || day.month() == start.month())
            }
        }
    }

    /// Whether the day is the n-th such weekday of its month, or of its year where a rule of years names no month.
    fn is_numbered(&self, day: Date, position: i16, weekday: Weekday) -> bool {
        if day.weekday() != weekday {
            return false;
        }
        let (at, length) = if self.every == Every::Year && self.months.is_empty() {
            (day.day_of_year(), day.days_in_year())
        } else {
            (i16::from(day.day()), i16::from(day.days_in_month()))
        };
        position == 0 || position == (at - 1) / 7 + 1 || position == -((length - at) / 7 + 1)
    }

    fn week_of(&self, day: Date) -> Date {
        let since = i64::from(self.week_starts.until(day.weekday()));
        day.checked_sub(since.days()).unwrap_or(day)
    }

    /// The period that positions are counted in.
    fn period(&self, day: Date) -> (Date, Date) {
        match self.every {
            Every::Day => (day, day),
            Every::Week => {
                let first = self.week_of(day);
                (first, first.checked_add(6.days()).unwrap_or(first))
            }
            Every::Month => (day.first_of_month(), day.last_of_month()),
            Every::Year => (day.first_of_year(), day.last_of_year()),
        }
    }
}

/// Each day from the first to the last.
pub(super) fn days(first: Date, last: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(first), |day| day.tomorrow().ok()).take_while(move |day| *day <= last)
}

fn list<T>(value: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.split(',').map(read).collect()
}

fn number(name: &str, value: &str, least: i64, most: i64) -> Result<i64, String> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let found = value.parse::<i64>().ok().filter(|found| digits && (least..=most).contains(found));
    found.ok_or_else(|| format!("{name}={value} is no number from {least} to {most}; write one"))
}

fn signed(name: &str, value: &str, most: i64) -> Result<i64, String> {
    let (minus, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let found = number(name, digits, 1, most).map_err(|_| {
        format!(
            "{value:?} in {name} is no number from 1 to {most}, or from -1 to -{most} counted from the end"
        )
    })?;
    Ok(if minus { -found } else { found })
}

/// Bounds were checked.
fn narrow<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}

fn no_weekday(text: &str) -> String {
    format!("{text:?} is no weekday; write MO, TU, WE, TH, FR, SA or SU")
}

fn weekday(text: &str) -> Result<Weekday, String> {
    Ok(match text {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return Err(no_weekday(text)),
    })
}

fn until(text: &str) -> Result<Until, String> {
    let invalid =
        || format!("UNTIL={text} is no date; write 20261231, 20261231T235959, or 20261231T225959Z for UTC");
    let part = |from: usize, to: usize| {
        text.get(from..to).and_then(|digits| digits.parse::<i16>().ok()).ok_or_else(invalid)
    };
    let small = |from: usize, to: usize| {
        part(from, to).and_then(|number| i8::try_from(number).map_err(|_| invalid()))
    };
    if !text.is_ascii() {
        return Err(invalid());
    }
    let day = Date::new(part(0, 4)?, small(4, 6)?, small(6, 8)?).map_err(|_| invalid())?;
    if day < date(2000, 1, 1) {
        return Err(invalid());
    }
    if text.len() == 8 {
        return Ok(Until::Day(day));
    }
    if text.get(8..9) != Some("T") {
        return Err(invalid());
    }
    let time =
        jiff::civil::Time::new(small(9, 11)?, small(11, 13)?, small(13, 15)?, 0).map_err(|_| invalid())?;
    match text.get(15..) {
        Some("") => Ok(Until::Local(day.to_datetime(time))),
        Some("Z") => Ok(Until::Utc(day.to_datetime(time))),
        _ => Err(invalid()),
    }
}
