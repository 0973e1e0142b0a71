//! Counts the fields and fragments that async-graphql executes for an introspection. The lists in
//! the schema have very different lengths, so the count uses their real lengths and not an average.

use std::sync::LazyLock;

use async_graphql::{
    Positioned, ServerError, Value as ConstValue, Variables,
    parser::types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};
use async_graphql_value::Value;

use super::{
    limits::{self, INTROSPECTION_MAX},
    schema_index::{self, SchemaIndex, TypeRef, root_type},
};

/// Number of directives: `@deprecated`, `@include`, `@oneOf`, `@skip` and `@specifiedBy`. Each
/// directive is counted with one argument.
const DIRECTIVES: usize = 5;

/// The type that is assumed for every directive argument. The type of each real argument has at
/// most one `ofType`.
static DIRECTIVE_ARGUMENT: LazyLock<TypeRef> =
    LazyLock::new(|| TypeRef::NonNull(Box::new(TypeRef::Named("Boolean".to_owned()))));

/// Counts the fields and fragments in the introspections of one document, up to a common maximum.
pub struct Counter<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    index: &'d SchemaIndex,
    remaining: u64,
}

/// The object in the introspection schema on which a selection set is executed.
#[derive(Clone, Copy)]
enum Node<'d> {
    Schema,
    Type(&'d TypeRef),
    Named(&'d schema_index::Type),
    Field(&'d schema_index::Field),
    /// An argument or an input field.
    Input(&'d TypeRef),
    EnumValue,
    Directive,
}

impl<'d> Node<'d> {
    fn input(argument: &'d schema_index::Argument) -> Self {
        Self::Input(&argument.of_type)
    }
}

impl<'d> Counter<'d> {
    pub fn new(
        document: &'d ExecutableDocument,
        variables: &'d Variables,
        index: &'d SchemaIndex,
    ) -> Self {
        Self { document, variables, index, remaining: INTROSPECTION_MAX }
    }

    /// Counts a `__schema` or `__type` field and everything in it. Fragments of the document must
    /// not contain themselves. Fails as soon as the introspections of the document exceed
    /// [`INTROSPECTION_MAX`]. This also limits the time for counting.
    pub fn count(&mut self, field: &'d Field) -> Result<u64, ServerError> {
        let remaining = self.remaining;
        self.count_one()?;
        let node = match field.name.node.as_str() {
            "__schema" => Some(Node::Schema),
            _ => self.requested_type(field).map(Node::Named),
        };
        if let Some(node) = node {
            self.selection_set(node, &field.selection_set)?;
        }
        Ok(remaining - self.remaining)
    }

    fn count_one(&mut self) -> Result<(), ServerError> {
        let remaining = self.remaining.checked_sub(1);
        self.remaining = remaining.ok_or_else(limits::too_much_introspection)?;
        Ok(())
    }

    /// Returns the type that the argument `name` of `__type` selects.
    fn requested_type(&self, field: &Field) -> Option<&'d schema_index::Type> {
        let name = field.get_argument("name")?;
        match &name.node {
            Value::String(name) => self.index.0.get(name),
            Value::Variable(name) => match self.variables.get(name)? {
                ConstValue::String(name) => self.index.0.get(name),
                _ => None,
            },
            _ => None,
        }
    }

    fn selection_set(
        &mut self,
        node: Node<'d>,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<(), ServerError> {
        for selection in &set.node.items {
            self.count_one()?;
            match &selection.node {
                Selection::Field(field) => {
                    let set = &field.node.selection_set;
                    if !set.node.items.is_empty() {
                        self.children(node, &field.node.name.node, set)?;
                    }
                }
                Selection::InlineFragment(inline) => {
                    self.selection_set(node, &inline.node.selection_set)?;
                }
                Selection::FragmentSpread(spread) => {
                    let document = self.document;
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = document.fragments.get(name) {
                        self.selection_set(node, &fragment.node.selection_set)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts the selection set of a field once for each object that the field returns.
    fn children(
        &mut self,
        node: Node<'d>,
        field: &str,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<(), ServerError> {
        let types = &self.index.0;
        let root = |operation| types.get(root_type(operation)).map(Node::Named);
        match (node, field) {
            (Node::Schema, "types") => self.for_each(types.values().map(Node::Named), set),
            (Node::Schema, "queryType") => self.for_each(root(OperationType::Query), set),
            (Node::Schema, "mutationType") => self.for_each(root(OperationType::Mutation), set),
            (Node::Schema, "subscriptionType") => {
                self.for_each(root(OperationType::Subscription), set)
            }
            (Node::Schema, "directives") => self.for_each([Node::Directive; DIRECTIVES], set),
            (Node::Directive, "args") => self.for_each([Node::Input(&DIRECTIVE_ARGUMENT)], set),
            (Node::Type(TypeRef::Named(name)), _) => match types.get(name) {
                Some(of_type) => self.children(Node::Named(of_type), field, set),
                None => Ok(()),
            },
            (Node::Type(TypeRef::NonNull(inner) | TypeRef::List(inner)), "ofType") => {
                self.for_each([Node::Type(inner)], set)
            }
            (Node::Named(of_type), "fields") => {
                let shown = of_type.fields.iter().filter(|(name, _)| !name.starts_with("__"));
                self.for_each(shown.map(|(_, field)| Node::Field(field)), set)
            }
            (Node::Named(of_type), "inputFields") => {
                self.for_each(of_type.input_fields.values().map(Node::input), set)
            }
            (Node::Named(of_type), "enumValues") => {
                self.for_each(of_type.enum_values.iter().map(|_| Node::EnumValue), set)
            }
            (Node::Field(definition), "args") => {
                self.for_each(definition.args.values().map(Node::input), set)
            }
            (Node::Field(schema_index::Field { of_type, .. }) | Node::Input(of_type), "type") => {
                self.for_each([Node::Type(of_type)], set)
            }
            // All other fields return scalars, because the schema has no interfaces or unions.
            _ => Ok(()),
        }
    }

    fn for_each(
        &mut self,
        nodes: impl IntoIterator<Item = Node<'d>>,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<(), ServerError> {
        nodes.into_iter().try_for_each(|node| self.selection_set(node, set))
    }
}

#[cfg(test)]
mod tests;
