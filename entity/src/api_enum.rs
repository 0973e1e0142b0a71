//! Enums of the API, declared once: their names, values and doc comments are those of the schema.

use strum::{EnumMessage, IntoEnumIterator};

/// An enum of the API. [`api_enum!`](crate::api_enum) implements it.
pub trait ApiEnum:
    Copy + Eq + Send + Sync + IntoEnumIterator + EnumMessage + Into<&'static str> + 'static
{
    /// The name in Rust, or the name in the schema where they differ.
    const NAME: &'static str;
    const DESCRIPTION: &'static str;
}

/// Declares enums of the API. Their values are written in capitals, as in the schema and the database. The schema has
/// another name for an enum that is declared `as "OtherName"`.
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
