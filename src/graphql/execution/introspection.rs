//! Counts the fields and fragments that async-graphql executes for an introspection. The count uses the real schema,
//! because an average length would be wrong for its lists, which differ widely.

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

/// Number of directives: `@deprecated`, `@include`, `@oneOf`, `@skip` and `@specifiedBy`. Each counts with one argument.
const DIRECTIVES: usize = 5;

/// Counted as the type of every directive argument. None of them has more than one `ofType`.
static DIRECTIVE_ARGUMENT: LazyLock<TypeRef> =
    LazyLock::new(|| TypeRef::NonNull(Box::new(TypeRef::Named("Boolean".to_owned()))));

/// Counts the introspections of one document, up to a common maximum.
pub struct Counter<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    index: &'d SchemaIndex,
    remaining: u64,
}

/// The object of the introspection schema on which a selection set is executed.
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

    /// Counts a field `__schema` or `__type` with everything in it. No fragment of the document may contain itself.
    /// Fails once the introspections of the document exceed [`INTROSPECTION_MAX`], which also bounds the counting.
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

    /// The type that the argument `name` of `__type` selects.
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
            // The schema has no interfaces or unions, and the other fields return scalars.
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
