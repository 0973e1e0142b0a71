//! Checks and normalizes the fields of a contact other than its addresses. Creating and changing a contact share these
//! rules.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::tag::{self, TAGS_RULE};
use crate::domain::{
    Failure, refused,
    validate::{self, LOCALE_RULE, METADATA_RULE, NAME_RULE, TIME_ZONE_RULE},
};

/// The fields to change. `None` keeps the value, and `Some(None)` removes it.
#[derive(Default)]
pub struct ContactChange {
    pub display_name: Option<Option<String>>,
    pub locale: Option<Option<String>>,
    pub time_zone: Option<Option<String>>,
    /// Replaces all tags.
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

/// The invalid field of a [`ContactChange`]. Each mutation has its own error codes for these fields.
pub(in crate::domain) enum ContactField {
    DisplayName,
    Locale,
    TimeZone,
    Tags,
    Metadata,
}

impl ContactChange {
    pub(in crate::domain) fn checked<C: From<ContactField>>(
        self,
    ) -> Result<CheckedDetails, Failure<C>> {
        let invalid = |field: ContactField| {
            let (path, rule): (&'static [&'static str], _) = match field {
                ContactField::DisplayName => (&["input", "displayName"], NAME_RULE),
                ContactField::Locale => (&["input", "locale"], LOCALE_RULE),
                ContactField::TimeZone => (&["input", "timeZone"], TIME_ZONE_RULE),
                ContactField::Tags => (&["input", "tags"], TAGS_RULE),
                ContactField::Metadata => (&["input", "metadata"], METADATA_RULE),
            };
            refused(field.into(), path, rule)
        };
        let display_name = patch(self.display_name, |name| validate::name(&name));
        let locale = patch(self.locale, |locale| validate::locale(&locale));
        let time_zone = patch(self.time_zone, |zone| {
            validate::time_zone(&zone).map(|zone| zone.name().to_owned())
        });
        let tags = self.tags.map(|tags| tag::checked(&tags).ok_or(()));
        Ok(CheckedDetails {
            display_name: display_name.map_err(|()| invalid(ContactField::DisplayName))?,
            locale: locale.map_err(|()| invalid(ContactField::Locale))?,
            time_zone: time_zone.map_err(|()| invalid(ContactField::TimeZone))?,
            tags: tags.transpose().map_err(|()| invalid(ContactField::Tags))?,
            metadata: patch(self.metadata, |metadata| validate::metadata(&metadata))
                .map_err(|()| invalid(ContactField::Metadata))?,
        })
    }
}

/// Applies `check` to a field that is set. A field that is kept or removed is always valid.
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
