use proptest::prelude::*;
use shop_crds::ShopPolicySpec;

use super::*;

fn window(start: &str, duration: &str, rrule: &str, zone: &str) -> FreezeWindow {
    let rrule = (!rrule.is_empty()).then_some(rrule);
    serde_json::from_value(serde_json::json!({
        "name": "w", "start": start, "duration": duration, "rrule": rrule, "timeZone": zone
    }))
    .unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(windows: Vec<FreezeWindow>) -> Vec<Policy> {
    vec![Policy {
        name: "p".into(),
        spec: Ok(ShopPolicySpec { freeze: windows, forbid_faults: false, defaults: None }),
    }]
}

/// The first so many days of a rule that starts on a day at 09:00.
fn first(start: &str, rrule: &str, many: usize) -> Vec<String> {
    let window =
        Window::read(&window(&format!("{start}T09:00:00"), "1h", rrule, "America/New_York")).unwrap();
    let start: Date = start.parse().unwrap();
    let days =
        window.rule.unwrap().days(window.start, &window.zone, start, start.checked_add(9000.days()).unwrap());
    days.iter().take(many).map(Date::to_string).collect()
}

/// Examples of RFC 5545, 3.8.5.3, those with at most one window a day, with the days that it lists.
#[test]
#[allow(clippy::too_many_lines, reason = "one line each of a table")]
fn rules_have_the_days_that_the_standard_lists() {
    for (start, rule, days) in [
        ("2097-09-02", "FREQ=DAILY;COUNT=3", "2097-09-02 2097-09-03 2097-09-04"),
        (
            "2097-09-02",
            "FREQ=DAILY;INTERVAL=10;COUNT=5",
            "2097-09-02 2097-09-12 2097-09-22 2097-10-02 2097-10-12",
        ),
        (
            "1997-09-02",
            "FREQ=WEEKLY;UNTIL=20071007;WKST=SU;BYDAY=TU,TH",
            "1997-09-02 1997-09-04 1997-09-09 1997-09-11",
        ),
        (
            "1997-09-01",
            "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=MO,WE,FR",
            "1997-09-01 1997-09-03 1997-09-05 1997-09-15 1997-09-17 1997-09-19 1997-09-29",
        ),
        (
            "1997-09-05",
            "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
            "1997-09-05 1997-10-03 1997-11-07 1997-12-05 1998-01-02 1998-02-06",
        ),
        (
            "1997-09-07",
            "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
            "1997-09-07 1997-09-28 1997-11-02 1997-11-30 1998-01-04 1998-01-25 1998-03-01 1998-03-29",
        ),
        (
            "1997-09-22",
            "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
            "1997-09-22 1997-10-20 1997-11-17 1997-12-22 1998-01-19 1998-02-16",
        ),
        (
            "1997-09-28",
            "FREQ=MONTHLY;BYMONTHDAY=-3",
            "1997-09-28 1997-10-29 1997-11-28 1997-12-29 1998-01-29 1998-02-26",
        ),
        (
            "1997-09-02",
            "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
            "1997-09-02 1997-09-15 1997-10-02 1997-10-15",
        ),
        (
            "1997-09-30",
            "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
            "1997-09-30 1997-10-01 1997-10-31 1997-11-01 1997-11-30",
        ),
        (
            "1997-09-10",
            "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
            "1997-09-10 1997-09-11 1997-09-12 1997-09-13 1997-09-14 1997-09-15 1999-03-10",
        ),
        ("1997-06-10", "FREQ=YEARLY;COUNT=10;BYMONTH=6,7", "1997-06-10 1997-07-10 1998-06-10 1998-07-10"),
        (
            "1997-03-10",
            "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
            "1997-03-10 1999-01-10 1999-02-10 1999-03-10",
        ),
        ("1997-05-19", "FREQ=YEARLY;BYDAY=20MO", "1997-05-19 1998-05-18 1999-05-17"),
        ("1997-03-13", "FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "1997-03-13 1997-03-20 1997-03-27 1998-03-05"),
        (
            "1997-09-02",
            "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
            "1998-02-13 1998-03-13 1998-11-13 1999-08-13 2000-10-13",
        ),
        (
            "1996-11-05",
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            "1996-11-05 2000-11-07 2004-11-02",
        ),
        ("1997-09-04", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997-09-04 1997-10-07 1997-11-06"),
        (
            "1997-09-29",
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
            "1997-09-29 1997-10-30 1997-11-27 1997-12-30",
        ),
        (
            "1997-08-05",
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
            "1997-08-05 1997-08-10 1997-08-19 1997-08-24",
        ),
        (
            "1997-08-05",
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
            "1997-08-05 1997-08-17 1997-08-19 1997-08-31",
        ),
        (
            "2007-01-15",
            "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
            "2007-01-15 2007-01-30 2007-02-15 2007-03-15 2007-03-30",
        ),
        ("2024-02-29", "FREQ=YEARLY", "2024-02-29 2028-02-29 2032-02-29"),
        ("2026-01-31", "FREQ=MONTHLY", "2026-01-31 2026-03-31 2026-05-31"),
    ] {
        // What lies before the year 2000 is shifted by 400 years, after which the calendar repeats.
        let shift = |text: &str| {
            if text < "2000" {
                format!("{:04}{}", text[..4].parse::<i32>().unwrap() + 400, &text[4..])
            } else {
                text.to_owned()
            }
        };
        let rule = rule.replace("UNTIL=2007", "UNTIL=2407");
        let days: Vec<String> = days
            .split(' ')
            .map(|day| {
                if start < "2000" {
                    format!("{:04}{}", day[..4].parse::<i32>().unwrap() + 400, &day[4..])
                } else {
                    day.to_owned()
                }
            })
            .collect();
        assert_eq!(first(&shift(start), &rule, days.len()), days, "{start} {rule}");
    }
}

#[test]
fn windows_follow_the_clock_of_their_zone() {
    for (start, duration, rule, zone, opens, closes) in [
        // Daily, in summer and in winter.
        (
            "2026-01-01T18:00:00",
            "1h",
            "FREQ=DAILY",
            "Europe/Berlin",
            "2026-07-01T16:00:00Z",
            "2026-07-01T17:00:00Z",
        ),
        (
            "2026-01-01T18:00:00",
            "1h",
            "FREQ=DAILY",
            "Europe/Berlin",
            "2026-12-01T17:00:00Z",
            "2026-12-01T18:00:00Z",
        ),
        // The clock is set forward at 02:00: a start in the gap is moved on.
        (
            "2026-03-01T02:30:00",
            "1h",
            "FREQ=DAILY",
            "Europe/Berlin",
            "2026-03-29T01:30:00Z",
            "2026-03-29T02:30:00Z",
        ),
        // It is set back at 03:00: the first of two such times.
        (
            "2026-10-01T02:30:00",
            "1h",
            "FREQ=DAILY",
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
        ),
        // Two days on the clock are 47 and 49 hours.
        ("2026-03-28T00:00:00", "2d", "", "Europe/Berlin", "2026-03-27T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("2026-10-24T00:00:00", "48h", "", "Europe/Berlin", "2026-10-23T22:00:00Z", "2026-10-25T23:00:00Z"),
        // Less than a day is exact.
        ("2026-03-28T20:00:00", "10h", "", "Europe/Berlin", "2026-03-28T19:00:00Z", "2026-03-29T05:00:00Z"),
        // Far from Greenwich, and where half hours count.
        (
            "2026-01-01T00:00:00",
            "31d",
            "",
            "Pacific/Kiritimati",
            "2025-12-31T10:00:00Z",
            "2026-01-31T10:00:00Z",
        ),
        ("2026-01-01T00:00:00", "1h", "", "Asia/Kolkata", "2025-12-31T18:30:00Z", "2025-12-31T19:30:00Z"),
        (
            "2026-11-26T18:00:00",
            "4d",
            "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH",
            "America/New_York",
            "2027-11-25T23:00:00Z",
            "2027-11-29T23:00:00Z",
        ),
    ] {
        let given = format!("{start} {duration} {rule} {zone}");
        let window = Window::read(&window(start, duration, rule, zone)).unwrap();
        let (opens, closes) = (at(opens), at(closes));
        let a_moment = jiff::SignedDuration::from_millis(1);
        assert_eq!(window.open_until(opens), Some(closes), "{given}");
        assert_eq!(window.open_until(closes - a_moment), Some(closes), "{given}");
        assert_eq!(window.open_until(opens - a_moment), None, "{given}");
        assert_eq!(window.open_until(closes), None, "{given}");
        assert_eq!(window.next(opens - a_moment), Some(opens), "{given}");
    }
}

#[test]
fn until_and_count_end_a_rule() {
    let open = |rule: &str, day: &str| {
        let window = Window::read(&window("2026-01-01T09:00:00", "1h", rule, "Europe/Berlin")).unwrap();
        window.open_until(at(&format!("{day}T08:30:00Z"))).is_some()
    };
    for (rule, last, after) in [
        ("FREQ=DAILY;COUNT=5", "2026-01-05", "2026-01-06"),
        ("FREQ=DAILY;UNTIL=20260105", "2026-01-05", "2026-01-06"),
        ("FREQ=DAILY;UNTIL=20260105T090000", "2026-01-05", "2026-01-06"),
        ("FREQ=DAILY;UNTIL=20260105T080000Z", "2026-01-05", "2026-01-06"),
        ("FREQ=DAILY;UNTIL=20260105T075959Z", "2026-01-04", "2026-01-05"),
        ("", "2026-01-01", "2026-01-02"),
    ] {
        assert!(open(rule, last) && !open(rule, after), "{rule}");
    }
    assert!(!open("FREQ=DAILY", "2025-12-31"), "nothing is before the start");
}

#[test]
fn what_cannot_be_read_names_the_field_and_what_to_write() {
    let good = || window("2026-01-01T09:00:00", "1h", "FREQ=DAILY", "Europe/Berlin");
    for (bad, field, says) in [
        (FreezeWindow { start: "2026-02-30T09:00:00".into(), ..good() }, "start", "in the calendar"),
        (FreezeWindow { start: "2026-02-03".into(), ..good() }, "start", "2026-11-27T18:00:00"),
        (FreezeWindow { time_zone: "Europe/Atlantis".into(), ..good() }, "timeZone", "Europe/Berlin"),
        (FreezeWindow { rrule: Some("FREQ=SECONDLY".into()), ..good() }, "rrule", "begin with FREQ=DAILY"),
        (FreezeWindow { rrule: Some("FREQ=DAILY;BYHOUR=4".into()), ..good() }, "rrule", "not supported"),
        (FreezeWindow { rrule: Some("FREQ=DAILY;BYDAY=1MO".into()), ..good() }, "rrule", "weekday alone"),
        (FreezeWindow { rrule: Some("FREQ=WEEKLY;BYMONTHDAY=1".into()), ..good() }, "rrule", "FREQ=MONTHLY"),
        (
            FreezeWindow { rrule: Some("FREQ=DAILY;COUNT=1;UNTIL=20270101".into()), ..good() },
            "rrule",
            "one of them",
        ),
        (FreezeWindow { rrule: Some("FREQ=DAILY;INTERVAL=0".into()), ..good() }, "rrule", "from 1 to 1000"),
        (FreezeWindow { rrule: Some("FREQ=DAILY;INTERVAL=2;INTERVAL=2".into()), ..good() }, "rrule", "twice"),
        (FreezeWindow { rrule: Some("FREQ=MONTHLY;BYDAY=XX".into()), ..good() }, "rrule", "write MO, TU"),
        (
            FreezeWindow { rrule: Some("FREQ=MONTHLY;BYMONTHDAY=32".into()), ..good() },
            "rrule",
            "from 1 to 31",
        ),
        (
            FreezeWindow { rrule: Some("FREQ=DAILY;UNTIL=20261332".into()), ..good() },
            "rrule",
            "write 20261231",
        ),
        (FreezeWindow { rrule: Some("FREQ=MONTHLY;BYSETPOS=1".into()), ..good() }, "rrule", "with it"),
    ] {
        let [found] = unreadable(std::slice::from_ref(&bad)).try_into().unwrap();
        assert_eq!(found.field, format!("spec.freeze[0].{field} (w)"), "{bad:?}");
        assert!(found.message.contains(says), "{bad:?}: {}", found.message);
        let verdict = judge(&policy(vec![bad]), "order", at("2026-06-01T00:00:00Z"));
        assert!(matches!(verdict, Verdict::Invalid { window, .. } if window == "p/w"));
    }
    assert_eq!(unreadable(&[good()]), []);
}

#[test]
fn windows_that_overlap_add_up() {
    let deny = |start: &str, duration: &str| FreezeWindow {
        name: format!("deny-{start}"),
        ..window(start, duration, "", "UTC")
    };
    let allow = |start: &str, duration: &str| FreezeWindow {
        allow: true,
        name: format!("allow-{start}"),
        ..window(start, duration, "", "UTC")
    };
    let until = |windows: &[FreezeWindow], service: &str, now: &str| match judge(
        &policy(windows.to_vec()),
        service,
        at(now),
    ) {
        Verdict::Open => "open".to_owned(),
        Verdict::Frozen { until, .. } => until.map_or("for long".to_owned(), |until| until.to_string()),
        Verdict::Invalid { .. } => "invalid".to_owned(),
    };
    let denied = [deny("2026-01-01T10:00:00", "2h"), deny("2026-01-01T11:00:00", "4h")];
    assert_eq!(until(&[], "order", "2026-01-01T11:30:00Z"), "open");
    assert_eq!(until(&denied, "order", "2026-01-01T10:30:00Z"), "2026-01-01T12:00:00Z");
    assert_eq!(until(&denied, "order", "2026-01-01T11:30:00Z"), "2026-01-01T15:00:00Z");
    assert_eq!(until(&denied, "order", "2026-01-01T15:00:00Z"), "open");
    // Any window that allows is enough, none that allows is a freeze, and one that denies wins.
    let mixed = [
        allow("2026-01-01T09:00:00", "3h"),
        allow("2026-01-02T09:00:00", "3h"),
        deny("2026-01-01T10:00:00", "1h"),
    ];
    assert_eq!(until(&mixed, "order", "2026-01-01T09:30:00Z"), "open");
    assert_eq!(until(&mixed, "order", "2026-01-01T10:30:00Z"), "2026-01-01T11:00:00Z");
    assert_eq!(until(&mixed, "order", "2026-01-01T12:30:00Z"), "2026-01-02T09:00:00Z");
    assert_eq!(until(&mixed, "order", "2026-01-02T12:30:00Z"), "for long");
    let named = [FreezeWindow { services: vec!["payment".into()], ..deny("2026-01-01T10:00:00", "2h") }];
    assert_eq!(until(&named, "order", "2026-01-01T10:30:00Z"), "open");
    assert_eq!(until(&named, "payment", "2026-01-01T10:30:00Z"), "2026-01-01T12:00:00Z");
    // One that cannot be read stops whom it is for; an open one says so first, because it has an end.
    let broken = FreezeWindow { time_zone: "Nowhere".into(), ..deny("2026-01-01T10:00:00", "2h") };
    assert_eq!(until(std::slice::from_ref(&broken), "order", "2026-06-01T00:00:00Z"), "invalid");
    assert_eq!(
        until(&[broken, deny("2026-01-01T10:00:00", "2h")], "order", "2026-01-01T10:30:00Z"),
        "2026-01-01T12:00:00Z"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(5545), ..ProptestConfig::default() })]

    /// The window that is found open is one that begins on some day, and the next one is the first after now.
    #[test]
    fn what_is_open_and_what_is_next_agree(
        hours in 0_i64..20_000,
        every in prop::sample::select(vec!["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
        interval in 1_i64..5,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
        duration in 1_i64..700,
    ) {
        let rule = format!("FREQ={every};INTERVAL={interval}");
        let window = Window::read(&window("2025-01-31T02:15:00", &format!("{duration}h"), &rule, zone)).unwrap();
        let now = at("2025-01-01T00:00:00Z") + jiff::SignedDuration::from_hours(hours);
        let all = window.windows(window.start.date(), "2029-01-01".parse().unwrap());
        let open = all.iter().filter(|(from, to)| *from <= now && now < *to).map(|(_, to)| *to).max();
        prop_assert_eq!(window.open_until(now), open);
        let next = all.iter().map(|(from, _)| *from).find(|from| *from > now);
        let soon = next.filter(|next| next.duration_since(now).as_hours() < 24 * 399);
        prop_assert_eq!(window.next(now).filter(|next| next.duration_since(now).as_hours() < 24 * 399), soon);
    }

    /// No text makes it fail or run for long.
    #[test]
    fn any_rule_is_read_or_refused(text in "FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;(INTERVAL|BYDAY|BYMONTHDAY|BYMONTH|BYSETPOS|COUNT|UNTIL|WKST)=[-+0-9A-Z,]{0,6}){0,3}") {
        if let Ok(window) = Window::read(&window("2000-01-01T00:00:00", "31d", &text, "Europe/Berlin")) {
            let now = at("2026-01-01T00:00:00Z");
            let open = window.open_until(now);
            prop_assert!(open.is_none_or(|open| open > now));
        }
    }
}
