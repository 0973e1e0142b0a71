//! Checks literals of custom scalars for bluejay.

use std::borrow::Cow;

use bluejay_core::{Value, ValueReference, definition::ScalarTypeDefinition as _};
use bluejay_parser::ast::definition::{Context, CustomScalarTypeDefinition};

use crate::graphql::scalars::{self, Given};

/// Tells bluejay which literals the custom scalars accept.
#[derive(Debug)]
pub struct CustomScalars;

impl Context for CustomScalars {
    fn coerce_custom_scalar_input<const CONST: bool>(
        definition: &CustomScalarTypeDefinition<Self>,
        value: &impl Value<CONST>,
    ) -> Result<(), Cow<'static, str>> {
        let input = match value.as_ref() {
            ValueReference::Integer(_) | ValueReference::Float(_) => Given::Number,
            ValueReference::String(text) => Given::Text(text),
            ValueReference::Object(_) => Given::Object,
            _ => Given::Other,
        };
        scalars::check(definition.name(), input).map_err(Cow::Borrowed)
    }
}
