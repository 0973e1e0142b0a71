//! What an introspection makes the library do, counted on the schema itself before anything is executed: the lists of
//! a schema are so different in length that an average says nothing.

use std::sync::LazyLock;

use async_graphql::{
    Positioned, Value as ConstValue, Variables,
    parser::types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};
use async_graphql_value::Value;

use super::{
    role_visibility::root_of,
    schema_index::{self, SchemaIndex, TypeRef},
};

/// Fields and fragments of the introspections of a document at most, each as often as it is executed. The query of
/// GraphiQL and of code generators, with all that it can ask, has 14,500.
pub const INTROSPECTION_MAX: u64 = 40_000;
/// `@deprecated`, `@include`, `@oneOf`, `@skip` and `@specifiedBy`, each with one argument at most.
const DIRECTIVES: usize = 5;

static OF_DIRECTIVE: LazyLock<TypeRef> =
    LazyLock::new(|| TypeRef::NonNull(Box::new(TypeRef::Named("Boolean".to_owned()))));

/// Counts introspections, those of a document together.
pub struct Counter<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    shape: &'d SchemaIndex,
    left: u64,
}

/// There is more than [`INTROSPECTION_MAX`].
pub struct TooMuch;

/// What a set of fields is asked of.
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
    fn of_argument(argument: &'d schema_index::Argument) -> Self {
        Self::Input(&argument.of_type)
    }
}

impl<'d> Counter<'d> {
    pub fn new(
        document: &'d ExecutableDocument,
        variables: &'d Variables,
        shape: &'d SchemaIndex,
    ) -> Self {
        Self { document, variables, shape, left: INTROSPECTION_MAX }
    }

    /// Counts what is inside a field `__schema` or `__type`, and itself. The document has no fragment that spreads
    /// itself. Counting takes a step for each that it counts, so it needs no bound of its own.
    pub fn count(&mut self, field: &'d Field) -> Result<u64, TooMuch> {
        let left = self.left;
        self.take_one()?;
        let node = match field.name.node.as_str() {
            "__schema" => Some(Node::Schema),
            _ => self.of_name(field).map(Node::Named),
        };
        if let Some(node) = node {
            self.set(node, &field.selection_set)?;
        }
        Ok(left - self.left)
    }

    fn take_one(&mut self) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(1).ok_or(TooMuch)?;
        Ok(())
    }

    /// The type that `__type` asks for.
    fn of_name(&self, field: &Field) -> Option<&'d schema_index::Type> {
        let name = field.get_argument("name")?;
        match &name.node {
            Value::String(name) => self.shape.0.get(name),
            Value::Variable(name) => match self.variables.get(name)? {
                ConstValue::String(name) => self.shape.0.get(name),
                _ => None,
            },
            _ => None,
        }
    }

    fn set(&mut self, node: Node<'d>, set: &'d Positioned<SelectionSet>) -> Result<(), TooMuch> {
        for selection in &set.node.items {
            self.take_one()?;
            match &selection.node {
                Selection::Field(field) => {
                    let set = &field.node.selection_set;
                    if !set.node.items.is_empty() {
                        self.below(node, &field.node.name.node, set)?;
                    }
                }
                Selection::InlineFragment(inline) => self.set(node, &inline.node.selection_set)?,
                Selection::FragmentSpread(spread) => {
                    let document = self.document;
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = document.fragments.get(name) {
                        self.set(node, &fragment.node.selection_set)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts a set once for everything that the field of a node gives.
    fn below(
        &mut self,
        node: Node<'d>,
        field: &str,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<(), TooMuch> {
        let types = &self.shape.0;
        let root = |operation| types.get(root_of(operation)).map(Node::Named);
        match (node, field) {
            (Node::Schema, "types") => self.each(types.values().map(Node::Named), set),
            (Node::Schema, "queryType") => self.each(root(OperationType::Query), set),
            (Node::Schema, "mutationType") => self.each(root(OperationType::Mutation), set),
            (Node::Schema, "subscriptionType") => self.each(root(OperationType::Subscription), set),
            (Node::Schema, "directives") => self.each([Node::Directive; DIRECTIVES], set),
            (Node::Directive, "args") => self.each([Node::Input(&OF_DIRECTIVE)], set),
            (Node::Type(TypeRef::Named(name)), _) => match types.get(name) {
                Some(known) => self.below(Node::Named(known), field, set),
                None => Ok(()),
            },
            (Node::Type(TypeRef::NonNull(inner) | TypeRef::List(inner)), "ofType") => {
                self.each([Node::Type(inner)], set)
            }
            (Node::Named(known), "fields") => {
                let shown = known.fields.iter().filter(|(name, _)| !name.starts_with("__"));
                self.each(shown.map(|(_, field)| Node::Field(field)), set)
            }
            (Node::Named(known), "inputFields") => {
                self.each(known.input_fields.values().map(Node::of_argument), set)
            }
            (Node::Named(known), "enumValues") => {
                self.each(known.enum_values.iter().map(|_| Node::EnumValue), set)
            }
            (Node::Field(known), "args") => {
                self.each(known.args.values().map(Node::of_argument), set)
            }
            (Node::Field(schema_index::Field { of_type, .. }) | Node::Input(of_type), "type") => {
                self.each([Node::Type(of_type)], set)
            }
            // There are no interfaces and unions, and the rest has nothing below it.
            _ => Ok(()),
        }
    }

    fn each(
        &mut self,
        nodes: impl IntoIterator<Item = Node<'d>>,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<(), TooMuch> {
        nodes.into_iter().try_for_each(|node| self.set(node, set))
    }
}

#[cfg(test)]
mod tests;
