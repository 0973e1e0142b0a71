use chrono::TimeZone as _;

use super::*;

fn quiet(from: &str, to: &str, zone: &str) -> QuietHours {
    let new = NewQuietHours { from: from.into(), to: to.into(), time_zone: zone.into() };
    QuietHours::checked(&new).unwrap_or_else(|_| panic!("{from} to {to}, {zone}"))
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a moment")
}

/// Tests quiet hours within a day and across midnight, at both of their ends, and on days with clock changes.
#[test]
fn quiet_hours_end_by_local_time() {
    let berlin = quiet("22:00", "08:00", "Europe/Berlin");
    for (now, end) in [
        ("2026-01-15T20:59:59Z", None),
        ("2026-01-15T21:00:00Z", Some("2026-01-16T07:00:00Z")),
        ("2026-01-16T06:59:59.999Z", Some("2026-01-16T07:00:00Z")),
        ("2026-01-16T07:00:00Z", None),
        ("2026-07-15T20:00:00Z", Some("2026-07-16T06:00:00Z")),
        // On 29 March, the clock changes from 02:00 to 03:00; on 25 October, from 03:00 to 02:00.
        ("2026-03-28T21:00:00Z", Some("2026-03-29T06:00:00Z")),
        ("2026-10-24T20:00:00Z", Some("2026-10-25T07:00:00Z")),
    ] {
        assert_eq!(berlin.end(at(now)), end.map(at), "{now}");
    }
    // These results require the time zone rules of 2026: Cuba, British Columbia and others stay on summer time from
    // November.
    for (from, to, zone, end) in [
        ("12:00", "11:59", "America/Havana", "2026-11-29T15:59:00Z"),
        ("03:00", "02:00", "America/Vancouver", "2026-11-29T09:00:00Z"),
        ("03:00", "02:00", "Africa/Casablanca", "2026-11-29T02:00:00Z"),
    ] {
        assert_eq!(quiet(from, to, zone).end(at("2026-11-28T16:30:00Z")), Some(at(end)), "{zone}");
    }
    let noon = quiet("12:00", "13:30", "Asia/Kathmandu");
    assert_eq!(noon.end(at("2026-05-01T06:15:00Z")), Some(at("2026-05-01T07:45:00Z")));
    // The clock change skips the end: 02:30 does not exist on that day.
    let short = quiet("01:00", "02:30", "Europe/Berlin");
    assert_eq!(short.end(at("2026-03-29T00:10:00Z")), Some(at("2026-03-29T01:00:00Z")));
}

/// Over a year, in time zones with different clock changes, the end is not in the quiet hours, the minute before the
/// end is in them, and the end is at most 25 hours away.
#[test]
fn the_end_is_outside_the_quiet_hours() {
    let start = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().expect("a moment");
    for zone in ["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"] {
        for (from, to) in [("22:00", "08:00"), ("01:59", "02:01"), ("02:30", "01:30")] {
            let quiet = quiet(from, to, zone);
            for step in 0..(366 * 24 * 60 / 997) {
                let now = start + TimeDelta::minutes(step * 997);
                let Some(end) = quiet.end(now) else { continue };
                assert!(quiet.contains(now) && !quiet.contains(end), "{zone} {now}");
                assert!(quiet.contains(end - TimeDelta::minutes(1)), "{zone} {now}");
                assert!(end - now <= TimeDelta::hours(25), "{zone} {now}");
            }
        }
    }
}

/// Compares the result with a search minute by minute, at every clock change of time zones with unusual changes. These
/// are changes of half an hour or two hours, changes at midnight or for Ramadan, and a skipped day.
#[test]
fn the_end_is_the_first_minute_outside_the_quiet_hours() {
    let searched = |quiet: &QuietHours, at: DateTime<Utc>| {
        let minute = at.duration_trunc(MINUTE).expect("a minute");
        let mut later = (1..).map(|minutes| minute + MINUTE * minutes);
        quiet.contains(at).then(|| later.find(|later| !quiet.contains(*later)).expect("an end"))
    };
    let mut changes = 0;
    for (zone, year) in [
        ("Europe/Berlin", 2026),
        ("America/New_York", 2026),
        ("Australia/Lord_Howe", 2026),
        ("Antarctica/Troll", 2026),
        ("America/Sao_Paulo", 2018),
        ("Africa/Casablanca", 2026),
        ("Asia/Beirut", 2026),
        ("Pacific/Apia", 2011),
        ("Asia/Pyongyang", 2018),
    ] {
        let start = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).single().expect("a moment");
        let mut from = start;
        let any = quiet("22:00", "08:00", zone);
        while let Some(change) = any.next_change_of_clock(from, start + TimeDelta::days(366)) {
            from = change;
            changes += 1;
            let minute = any.minute_of_day_at(change);
            for (begin, end) in
                [(-480, 0), (-1, 1), (-30, 30), (10, 5), (-90, 60), (0, 1439), (1, 0)]
            {
                let hours = QuietHours {
                    from_minute: (minute + begin).rem_euclid(DAY_MINUTES),
                    to_minute: (minute + end).rem_euclid(DAY_MINUTES),
                    zone: any.zone.clone(),
                };
                for before in [25 * 60, 90, 61, 1, 0, -1, -45, -119] {
                    let at = change - MINUTE * before + TimeDelta::seconds(7);
                    assert_eq!(hours.end(at), searched(&hours, at), "{zone} {at} {hours:?}");
                }
            }
        }
    }
    assert_eq!(changes, 19);
}

#[test]
fn only_valid_times_of_day_are_accepted() {
    let accepted = ["00:00", "23:59", "07:05"].map(minute_of_day);
    assert_eq!(accepted, [Some(0), Some(1439), Some(425)]);
    for text in ["", "24:00", "7:05", "07:5", "07:60", "-1:00", "+1:00", " 7:05", "07:05:00"] {
        assert_eq!(minute_of_day(text), None, "{text}");
    }
}
