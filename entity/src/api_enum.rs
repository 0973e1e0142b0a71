//! Enums of the API. Each is declared only once: the schema takes its name, its values and its
//! descriptions from the Rust declaration.

use strum::{EnumMessage, IntoEnumIterator};

/// An enum of the API. [`api_enum!`](crate::api_enum) implements it.
pub trait ApiEnum:
    Copy + Eq + Send + Sync + IntoEnumIterator + EnumMessage + Into<&'static str> + 'static
{
    /// The name of the enum in the schema. It is the Rust name, unless the enum is declared `as`
    /// another name.
    const NAME: &'static str;
    const DESCRIPTION: &'static str;
}

/// Declares enums of the API. In the schema and the database, a value such as `MainAccount` is
/// written `MAIN_ACCOUNT`. An enum that is declared `as "OtherName"` has this other name in the
/// schema.
#[macro_export]
macro_rules! api_enum {
    ($(
        $(#[doc = $doc:literal])+
        $(#[derive($($derive:path),+)])?
        $(#[sea_orm($($sea_orm:tt)+)])?
        $(#[serde($($serde:tt)+)])?
        $visibility:vis enum $name:ident $(as $api_name:literal)? { $($values:tt)+ }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash,
            ::strum::EnumIter, ::strum::EnumMessage, ::strum::IntoStaticStr
        )]
        $(#[derive($($derive),+)])?
        $(#[sea_orm($($sea_orm)+)])?
        $(#[serde($($serde)+)])?
        #[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
        $visibility enum $name { $($values)+ }

        impl $crate::api_enum::ApiEnum for $name {
            const NAME: &'static str = $crate::api_enum!(@name $name $($api_name)?);
            const DESCRIPTION: &'static str = concat!($($doc, "\n"),+);
        }
    )+};
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $api_name:literal) => { $api_name };
}
