//! Converts documents from bluejay's representation to that of async-graphql. async-graphql cannot
//! represent documents with certain errors, so these errors are reported here instead of by
//! validation: duplicate input fields, duplicate names of operations or fragments, and an operation
//! without a name in a document with several operations.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, ServerError,
    indexmap::IndexMap,
    parser::types::{
        BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition,
        FragmentSpread, InlineFragment, OperationDefinition, OperationType, Selection,
        SelectionSet, Type, TypeCondition, VariableDefinition,
    },
};
use async_graphql_value::Value;
use bluejay_core::{
    AsIter as _, Directive as _, Value as _, ValueReference,
    executable::{
        Field as _, FragmentDefinition as _, FragmentSpread as _, InlineFragment as _,
        OperationDefinition as _, VariableDefinition as _,
    },
};
use bluejay_parser::{HasSpan, ast, ast::executable as read};

use super::text_positions::TextPositions;
use crate::graphql::execution::limits::invalid;

/// Converts a document that was parsed from `text`.
pub fn convert(
    document: &read::ExecutableDocument<'_>,
    text: &str,
) -> Result<ExecutableDocument, ServerError> {
    let converter = Converter { text, positions: TextPositions::new(text) };
    let operations = converter.operations(document.operation_definitions())?;
    let mut fragments = HashMap::new();
    for fragment in document.fragment_definitions() {
        let name = fragment.name();
        let pos = converter.pos(fragment);
        let definition = converter.fragment(fragment)?;
        let previous = fragments.insert(Name::new(name.as_str()), Positioned::new(definition, pos));
        if previous.is_some() {
            return Err(duplicate("fragment name", name.as_str(), pos));
        }
    }
    Ok(ExecutableDocument { operations, fragments })
}

fn duplicate(what: &str, name: &str, pos: Pos) -> ServerError {
    invalid(format!("Duplicate {what} {name:?}."), pos)
}

type Argument = (Positioned<Name>, Positioned<Value>);

struct Converter<'t> {
    text: &'t str,
    positions: TextPositions<'t>,
}

impl Converter<'_> {
    fn pos(&self, node: &impl HasSpan) -> Pos {
        self.positions.at(node.span().byte_range().start)
    }

    fn operations(
        &self,
        definitions: &[read::OperationDefinition<'_>],
    ) -> Result<DocumentOperations, ServerError> {
        if let [definition] = definitions
            && definition.as_ref().name().is_none()
        {
            return Ok(DocumentOperations::Single(self.operation(definition)?));
        }
        let mut operations = HashMap::new();
        for definition in definitions {
            let pos = self.pos(definition);
            let Some(name) = definition.as_ref().name() else {
                let message =
                    "An operation without a name must be the only operation in the document.";
                return Err(invalid(message, pos));
            };
            let operation = self.operation(definition)?;
            if operations.insert(Name::new(name), operation).is_some() {
                return Err(duplicate("operation name", name, pos));
            }
        }
        Ok(DocumentOperations::Multiple(operations))
    }

    fn operation(
        &self,
        definition: &read::OperationDefinition<'_>,
    ) -> Result<Positioned<OperationDefinition>, ServerError> {
        let pos = self.pos(definition);
        let parts = definition.as_ref();
        let mut variable_definitions = Vec::new();
        if let Some(definitions) = parts.variable_definitions() {
            for definition in definitions.iter() {
                variable_definitions.push(self.variable(definition)?);
            }
        }
        let operation = OperationDefinition {
            ty: match parts.operation_type() {
                bluejay_core::OperationType::Query => OperationType::Query,
                bluejay_core::OperationType::Mutation => OperationType::Mutation,
                bluejay_core::OperationType::Subscription => OperationType::Subscription,
            },
            variable_definitions,
            directives: self.directives(parts.directives())?,
            selection_set: self.selection_set(definition.selection_set())?,
        };
        Ok(Positioned::new(operation, pos))
    }

    fn variable(
        &self,
        definition: &read::VariableDefinition<'_>,
    ) -> Result<Positioned<VariableDefinition>, ServerError> {
        let variable = definition.variable();
        let pos = self.pos(variable);
        let of_type = definition.r#type();
        let var_type = Positioned::new(type_of(of_type), self.pos(of_type));
        let default_value = definition.default_value().map(|value| -> Result<_, ServerError> {
            let default = self.value(value)?.into_const();
            let default = default.expect("the parser rejects variables in defaults");
            Ok(Positioned::new(default, self.pos(value)))
        });
        let converted = VariableDefinition {
            name: Positioned::new(Name::new(variable.name()), pos),
            var_type,
            directives: self.directives(definition.directives())?,
            default_value: default_value.transpose()?,
        };
        Ok(Positioned::new(converted, pos))
    }

    fn fragment(
        &self,
        definition: &read::FragmentDefinition<'_>,
    ) -> Result<FragmentDefinition, ServerError> {
        Ok(FragmentDefinition {
            type_condition: self.type_condition(definition.type_condition()),
            directives: self.directives(definition.directives())?,
            selection_set: self.selection_set(definition.selection_set())?,
        })
    }

    fn type_condition(&self, condition: &read::TypeCondition<'_>) -> Positioned<TypeCondition> {
        let named = condition.named_type();
        let pos = self.pos(named);
        let on = Positioned::new(Name::new(named.as_str()), pos);
        Positioned::new(TypeCondition { on }, pos)
    }

    fn selection_set(
        &self,
        set: &read::SelectionSet<'_>,
    ) -> Result<Positioned<SelectionSet>, ServerError> {
        let pos = self.pos(set);
        let items = set.iter().map(|selection| self.selection(selection));
        let items = items.collect::<Result<_, _>>()?;
        Ok(Positioned::new(SelectionSet { items }, pos))
    }

    fn selection(
        &self,
        selection: &read::Selection<'_>,
    ) -> Result<Positioned<Selection>, ServerError> {
        Ok(match selection {
            read::Selection::Field(field) => {
                let pos = self.pos(field);
                Positioned::new(Selection::Field(Positioned::new(self.field(field)?, pos)), pos)
            }
            read::Selection::FragmentSpread(spread) => {
                let (pos, name) = (self.pos(spread), spread.name());
                let converted = FragmentSpread {
                    fragment_name: Positioned::new(Name::new(name.as_str()), self.pos(name)),
                    directives: self.directives(spread.directives())?,
                };
                Positioned::new(Selection::FragmentSpread(Positioned::new(converted, pos)), pos)
            }
            read::Selection::InlineFragment(inline) => {
                let pos = self.pos(inline);
                let condition = inline.type_condition();
                let converted = InlineFragment {
                    type_condition: condition.map(|condition| self.type_condition(condition)),
                    directives: self.directives(inline.directives())?,
                    selection_set: self.selection_set(inline.selection_set())?,
                };
                Positioned::new(Selection::InlineFragment(Positioned::new(converted, pos)), pos)
            }
        })
    }

    fn field(&self, field: &read::Field<'_>) -> Result<Field, ServerError> {
        let pos = self.pos(field);
        let alias = field.alias().map(|alias| Positioned::new(Name::new(alias), pos));
        let name = field.name();
        let name = Positioned::new(Name::new(name.as_str()), self.pos(name));
        Ok(Field {
            alias,
            name,
            arguments: self.arguments(field.arguments())?,
            directives: self.directives(field.directives())?,
            selection_set: match field.selection_set() {
                Some(set) => self.selection_set(set)?,
                None => Positioned::default(),
            },
        })
    }

    fn directives<const CONST: bool>(
        &self,
        directives: Option<&ast::Directives<'_, CONST>>,
    ) -> Result<Vec<Positioned<Directive>>, ServerError> {
        let Some(directives) = directives else { return Ok(Vec::new()) };
        let converted = directives.iter().map(|directive| {
            let name = directive.name();
            let name = Positioned::new(Name::new(name.as_str()), self.pos(name));
            let arguments = self.arguments(directive.arguments())?;
            Ok(Positioned::new(Directive { name, arguments }, self.pos(directive)))
        });
        converted.collect()
    }

    fn arguments<const CONST: bool>(
        &self,
        arguments: Option<&ast::Arguments<'_, CONST>>,
    ) -> Result<Vec<Argument>, ServerError> {
        let Some(arguments) = arguments else { return Ok(Vec::new()) };
        let converted = arguments.iter().map(|argument| {
            let (name, value) = (argument.name(), argument.value());
            let name = Positioned::new(Name::new(name.as_str()), self.pos(name));
            let pos = self.pos(value);
            Ok((name, Positioned::new(self.value(value)?, pos)))
        });
        converted.collect()
    }

    fn value<const CONST: bool>(
        &self,
        value: &ast::Value<'_, CONST>,
    ) -> Result<Value, ServerError> {
        Ok(match value.as_ref() {
            ValueReference::Variable(variable) => Value::Variable(Name::new(variable.name())),
            // Numbers are kept as text, because an amount can have more digits than a float.
            ValueReference::Integer(_) | ValueReference::Float(_) => {
                let text = &self.text[value.span().byte_range()];
                Value::Number(text.parse().expect("a GraphQL number is a JSON number"))
            }
            ValueReference::String(text) => Value::String(text.to_owned()),
            ValueReference::Boolean(value) => Value::Boolean(value),
            ValueReference::Null => Value::Null,
            ValueReference::Enum(name) => Value::Enum(Name::new(name)),
            ValueReference::List(items) => {
                let items = items.iter().map(|item| self.value(item));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            ValueReference::Object(fields) => {
                let mut converted = IndexMap::new();
                for (name, value) in fields.iter() {
                    let previous = converted.insert(Name::new(name.as_str()), self.value(value)?);
                    if previous.is_some() {
                        return Err(duplicate("input field", name.as_str(), self.pos(name)));
                    }
                }
                Value::Object(converted)
            }
        })
    }
}

fn type_of(of_type: &read::VariableType<'_>) -> Type {
    match of_type {
        read::VariableType::Named { name, is_required, .. } => {
            Type { base: BaseType::Named(Name::new(name.as_str())), nullable: !is_required }
        }
        read::VariableType::List { inner, is_required, .. } => {
            Type { base: BaseType::List(Box::new(type_of(inner))), nullable: !is_required }
        }
    }
}
