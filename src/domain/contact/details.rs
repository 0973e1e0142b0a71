//! What a contact has besides its addresses, checked alike when it is made and when it is changed.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::tag::{self, TAGS_RULE};
use crate::domain::{
    Failure, refused,
    validate::{self, LOCALE_RULE, METADATA_RULE, NAME_RULE, TIME_ZONE_RULE},
};

/// What to change: `None` keeps, `Some(None)` clears.
#[derive(Default)]
pub struct ContactChange {
    pub display_name: Option<Option<String>>,
    pub locale: Option<Option<String>>,
    pub time_zone: Option<Option<String>>,
    /// All tags that it is to have.
    pub tags: Option<Vec<String>>,
    pub metadata: Option<Option<Map<String, Value>>>,
}

/// A [`ContactChange`] that has been checked.
pub(in crate::domain) struct CheckedDetails {
    pub display_name: Option<Option<String>>,
    pub locale: Option<Option<String>>,
    pub time_zone: Option<Option<String>>,
    pub tags: Option<BTreeSet<String>>,
    pub metadata: Option<Option<String>>,
}

/// Which part of a [`ContactChange`] is wrong; each mutation has a code for it.
pub(in crate::domain) enum Detail {
    DisplayName,
    Locale,
    TimeZone,
    Tags,
    Metadata,
}

impl ContactChange {
    /// Checks and normalises what is given.
    pub(in crate::domain) fn checked<C: From<Detail>>(self) -> Result<CheckedDetails, Failure<C>> {
        let wrong = |detail: Detail| {
            let (field, rule): (&'static [&'static str], _) = match detail {
                Detail::DisplayName => (&["input", "displayName"], NAME_RULE),
                Detail::Locale => (&["input", "locale"], LOCALE_RULE),
                Detail::TimeZone => (&["input", "timeZone"], TIME_ZONE_RULE),
                Detail::Tags => (&["input", "tags"], TAGS_RULE),
                Detail::Metadata => (&["input", "metadata"], METADATA_RULE),
            };
            refused(detail.into(), field, rule)
        };
        let display_name = patch(self.display_name, |name| validate::name(&name));
        let locale = patch(self.locale, |locale| validate::locale(&locale));
        let time_zone = patch(self.time_zone, |zone| {
            validate::time_zone(&zone).map(|zone| zone.name().to_owned())
        });
        let tags = self.tags.map(|tags| tag::checked(&tags).ok_or(()));
        Ok(CheckedDetails {
            display_name: display_name.map_err(|()| wrong(Detail::DisplayName))?,
            locale: locale.map_err(|()| wrong(Detail::Locale))?,
            time_zone: time_zone.map_err(|()| wrong(Detail::TimeZone))?,
            tags: tags.transpose().map_err(|()| wrong(Detail::Tags))?,
            metadata: patch(self.metadata, |metadata| validate::metadata(&metadata))
                .map_err(|()| wrong(Detail::Metadata))?,
        })
    }
}

/// A field that is kept or cleared passes; one that is set must pass the check.
fn patch<T>(
    field: Option<Option<T>>,
    check: impl Fn(T) -> Option<String>,
) -> Result<Option<Option<String>>, ()> {
    match field {
        None => Ok(None),
        Some(None) => Ok(Some(None)),
        Some(Some(value)) => check(value).map(|value| Some(Some(value))).ok_or(()),
    }
}
