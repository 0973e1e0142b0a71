//! Enums in the API that the domain or an entity declares.

use std::borrow::Cow;

use async_graphql::{
    ContextSelectionSet, InputType, InputValueError, InputValueResult, Name, OutputType,
    Positioned, ServerResult, Value,
    indexmap::IndexMap,
    parser::types::Field,
    registry::{Deprecation, MetaEnumValue, MetaType, MetaTypeId, Registry},
};
use entity::{
    account, api_enum::ApiEnum, api_key, audit_entry, ledger_entry, message, opt_out, phone_number,
};

use crate::domain;

pub type AccountStatus = DomainEnum<account::AccountStatus>;
pub type AuditAction = DomainEnum<audit_entry::AuditAction>;
pub type AuditActor = DomainEnum<audit_entry::AuditActor>;
pub type AuditOutcome = DomainEnum<audit_entry::AuditOutcome>;
pub type BlockReason = DomainEnum<domain::account::BlockReason>;
pub type Channel = DomainEnum<message::Channel>;
pub type Environment = DomainEnum<api_key::Environment>;
pub type LedgerKind = DomainEnum<ledger_entry::LedgerKind>;
pub type MessageStatus = DomainEnum<message::MessageStatus>;
pub type OptOutSource = DomainEnum<opt_out::OptOutSource>;
pub type PhoneNumberStatus = DomainEnum<phone_number::PhoneNumberStatus>;
pub type PhoneNumberType = DomainEnum<phone_number::PhoneNumberType>;
pub type Role = DomainEnum<api_key::Role>;
pub type SmsEncoding = DomainEnum<domain::channel::segments::SmsEncoding>;
pub type SubAccountOrderField = DomainEnum<domain::team::sub_account_list::SubAccountOrderField>;

/// A value of an enum that the domain or an entity declares. The schema renames one kind of enum:
/// `DoThisRefusal`, which contains the reasons why a mutation `doThis` is refused, is called
/// `DoThisErrorCode`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DomainEnum<T>(pub T);

/// Converts the values of an API enum to those of the domain.
pub fn values<T>(given: Option<Vec<DomainEnum<T>>>) -> Option<Vec<T>> {
    given.map(|given| given.into_iter().map(|value| value.0).collect())
}

impl<T> From<T> for DomainEnum<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: ApiEnum> DomainEnum<T> {
    fn name() -> Cow<'static, str> {
        match T::NAME.strip_suffix("Refusal") {
            Some(action) => format!("{action}ErrorCode").into(),
            None => T::NAME.into(),
        }
    }

    fn value(self) -> Value {
        let name: &'static str = self.0.into();
        Value::Enum(Name::new(name))
    }

    fn describe() -> MetaType {
        let values = T::iter().map(|value| {
            let name: &'static str = value.into();
            let described = MetaEnumValue {
                name: name.to_owned(),
                description: value.get_documentation().map(trimmed),
                deprecation: Deprecation::NoDeprecated,
                visible: None,
                inaccessible: false,
                tags: vec![],
                directive_invocations: vec![],
            };
            (name.to_owned(), described)
        });
        MetaType::Enum {
            name: Self::name().into_owned(),
            description: Some(trimmed(T::DESCRIPTION)),
            enum_values: values.collect::<IndexMap<_, _>>(),
            visible: None,
            inaccessible: false,
            tags: vec![],
            rust_typename: Some(std::any::type_name::<Self>()),
            directive_invocations: vec![],
            requires_scopes: vec![],
        }
    }
}

/// Returns a doc comment without the space at the beginning of each line.
fn trimmed(doc: &str) -> String {
    doc.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

impl<T: ApiEnum> OutputType for DomainEnum<T> {
    fn type_name() -> Cow<'static, str> {
        Self::name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Enum, |_| Self::describe())
    }

    async fn resolve(
        &self,
        _ctx: &ContextSelectionSet<'_>,
        _field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        Ok(self.value())
    }
}

impl<T: ApiEnum> InputType for DomainEnum<T> {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        Self::name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_input_type::<Self, _>(MetaTypeId::Enum, |_| Self::describe())
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let value = value.unwrap_or_default();
        let name = match &value {
            Value::Enum(name) => name.as_str(),
            Value::String(name) => name,
            _ => return Err(InputValueError::expected_type(value)),
        };
        let found = T::iter().find(|known| Into::<&'static str>::into(*known) == name);
        found.map(Self).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        self.value()
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}
