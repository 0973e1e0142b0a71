//! What is refused for its cost before a document is validated.
//!
//! Validation walks a fragment once for every spread of it, so a document of a kilobyte can keep a
//! core busy for minutes. All measures are taken first, in one walk that sees each fragment once.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value as ConstValue, Variables,
    parser::types::{Directive, ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};
use async_graphql_value::Value;

use super::{
    introspection::{self, INTROSPECTION_MAX},
    role_visibility::root_of,
    schema_index::{self, SchemaIndex},
};
use crate::{
    domain::page::PAGE_DEFAULT,
    graphql::errors::{Code, error, set_code},
};

/// Characters of a query at most.
pub const QUERY_CHARS_MAX: usize = 15_000;
/// Words, values and signs of a query at most.
pub const TOKENS_MAX: usize = 1_000;
/// Levels within each other at most, as the parser counts them: a field in a selection takes two, an argument, a list
/// and an input object one each. The parser and validation take stack for each.
pub const NESTING_MAX: usize = 128;
/// Levels of fields at most.
pub const DEPTH_MAX: usize = 12;
/// Levels of fields inside `__schema` and `__type`, which GraphiQL and code generators need.
pub const INTROSPECTION_DEPTH_MAX: usize = 15;
/// Fields at the root of a mutation at most.
pub const ROOT_MUTATION_FIELDS_MAX: usize = 10;
/// Aliases in a document at most.
pub const ALIASES_MAX: usize = 30;
/// Fields of a document at most, each fragment counted where it is spread.
pub const EXPANDED_SIZE_MAX: usize = 10_000;
/// Fields of an answer at most, as estimated: a page counts as often as it has entries.
pub const COMPLEXITY_MAX: u64 = 5_000;
/// Bytes of all variables at most, as estimated, each counted wherever it is given to an argument, of a directive
/// too. Validation copies it there, also in a fragment that nothing spreads.
pub const INPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The same for a subscription, which holds its variables for as long as it lasts.
pub const SUBSCRIPTION_INPUT_BYTES_MAX: u64 = 8 * 1024;
/// Fields of a subscription at most, each fragment counted where it is used: it holds its document for as long as it
/// lasts, and executes it for each event. A message with all that belongs to it has about 70.
pub const SUBSCRIPTION_FIELDS_MAX: usize = 100;
/// Tokens of a subscription's document at most.
pub const SUBSCRIPTION_TOKENS_MAX: usize = 300;
/// Bytes of the text of a subscription's document at most.
pub const SUBSCRIPTION_QUERY_BYTES_MAX: usize = 4 * 1024;
/// How often what is inside a list without pages counts.
pub const LIST_LENGTH: u64 = 10;
/// Bytes of memory that a value takes besides its text.
const VALUE_BYTES: usize = 64;
/// Bytes of a field of an introspection's answer, names and descriptions among them.
const INTROSPECTION_FIELD_BYTES: u64 = 128;

/// What a document costs, by its costliest operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Fields of the answer, as estimated.
    pub fields: u64,
    /// Fields and fragments of its introspections.
    pub introspection: u64,
    /// Bytes of memory that its variables and an introspection's answer take, as estimated.
    pub bytes: u64,
}

/// Checks and gives a document's cost.
pub fn check_cost(
    document: &ExecutableDocument,
    variables: &Variables,
    shape: &SchemaIndex,
) -> Result<Cost, ServerError> {
    let given = variables.iter().map(|(name, value)| (name, bytes_of(value))).collect();
    let introspections = introspection::Counter::new(document, variables, shape);
    let mut measured = Measured {
        document,
        variables,
        given,
        shape,
        introspections,
        fragments: HashMap::new(),
        aliases: 0,
    };
    let (mut size, mut complexity, mut input_bytes) = (0_usize, 0, 0_u64);
    let mut cost = Cost::default();
    for (_, operation) in document.operations.iter() {
        let root = root_of(operation.node.ty);
        let mut measure = measured.selection_set(root, &operation.node.selection_set)?;
        let definitions = operation.node.variable_definitions.iter();
        let directives = definitions.flat_map(|definition| &definition.node.directives);
        let directives = measured.directives(operation.node.directives.iter().chain(directives));
        measure.input_bytes = measure.input_bytes.saturating_add(directives);
        size = size.saturating_add(measure.size);
        complexity = complexity.max(measure.complexity);
        input_bytes = input_bytes.saturating_add(measure.input_bytes);
        check_input(operation.node.ty, measure.input_bytes)?;
        check_introspection(&measure)?;
        let introspection_bytes = measure.introspection.saturating_mul(INTROSPECTION_FIELD_BYTES);
        cost.fields = cost.fields.max(measure.complexity.saturating_add(measure.introspection));
        cost.introspection = cost.introspection.max(measure.introspection);
        cost.bytes = cost.bytes.max(introspection_bytes);
        if operation.node.ty == OperationType::Subscription
            && measure.size > SUBSCRIPTION_FIELDS_MAX
        {
            return Err(too_large(format!(
                "A subscription has at most {SUBSCRIPTION_FIELDS_MAX} fields."
            )));
        }
        let is_mutation = operation.node.ty == OperationType::Mutation;
        if is_mutation && measure.width > ROOT_MUTATION_FIELDS_MAX {
            return Err(too_large(format!(
                "A mutation has at most {ROOT_MUTATION_FIELDS_MAX} fields at its root."
            )));
        }
        if measure.depth > DEPTH_MAX {
            return Err(too_large(format!("A query is at most {DEPTH_MAX} levels deep.")));
        }
    }
    // Validation walks every fragment from its definition too, spread or not.
    for (name, fragment) in &document.fragments {
        let measure = measured.fragment(name, fragment.pos)?;
        size = size.saturating_add(measure.size);
        input_bytes = input_bytes.saturating_add(measure.input_bytes);
    }
    check_input(OperationType::Query, input_bytes)?;
    cost.bytes = cost.bytes.saturating_add(input_bytes);
    if size > EXPANDED_SIZE_MAX {
        return Err(too_large(format!("A query has at most {EXPANDED_SIZE_MAX} fields in all.")));
    }
    if measured.aliases > ALIASES_MAX {
        return Err(too_large(format!("A query has at most {ALIASES_MAX} aliases.")));
    }
    if complexity > COMPLEXITY_MAX {
        return Err(too_large(format!(
            "The answer might have {complexity} fields, and may have {COMPLEXITY_MAX}; ask for smaller \
             pages or fewer fields."
        )));
    }
    Ok(cost)
}

/// Bounds what the variables take: one that is given to a hundred places is copied to each.
fn check_input(operation: OperationType, bytes: u64) -> Result<(), ServerError> {
    let max = match operation {
        OperationType::Subscription => SUBSCRIPTION_INPUT_BYTES_MAX,
        OperationType::Query | OperationType::Mutation => INPUT_BYTES_MAX,
    };
    if bytes > max {
        return Err(too_large(format!(
            "The variables take {} KiB where they are used, and may take {} KiB; send less in one request.",
            bytes / 1024,
            max / 1024
        )));
    }
    Ok(())
}

fn check_introspection(measure: &Measure) -> Result<(), ServerError> {
    if measure.introspection_depth > INTROSPECTION_DEPTH_MAX {
        return Err(too_large(format!(
            "Introspection is at most {INTROSPECTION_DEPTH_MAX} levels deep."
        )));
    }
    if measure.schemas > 1 {
        return Err(too_large("A query has __schema at most once.".to_owned()));
    }
    if measure.introspection > INTROSPECTION_MAX {
        return Err(too_much_introspection());
    }
    Ok(())
}

fn too_much_introspection() -> ServerError {
    too_large(format!(
        "An introspection has at most {INTROSPECTION_MAX} fields and fragments, each counted as often as it is \
         executed; ask for fewer fields."
    ))
}

/// Bytes of memory that a value takes, as estimated.
fn bytes_of(value: &ConstValue) -> u64 {
    fn bytes(value: &ConstValue) -> usize {
        let held = match value {
            ConstValue::String(text) => text.len(),
            ConstValue::List(values) => values.iter().map(bytes).sum(),
            ConstValue::Object(members) => {
                members.iter().map(|(name, value)| VALUE_BYTES + name.len() + bytes(value)).sum()
            }
            _ => 0,
        };
        VALUE_BYTES + held
    }
    u64::try_from(bytes(value)).unwrap_or(u64::MAX)
}

/// Refuses a subscription whose document is too large to be held.
pub fn check_subscription_document(tokens: usize, text_bytes: usize) -> Result<(), ServerError> {
    if tokens > SUBSCRIPTION_TOKENS_MAX || text_bytes > SUBSCRIPTION_QUERY_BYTES_MAX {
        return Err(too_large(format!(
            "A document of which a subscription is executed has at most {SUBSCRIPTION_TOKENS_MAX} tokens and {} KiB \
             of text; send the subscription without other operations.",
            SUBSCRIPTION_QUERY_BYTES_MAX / 1024
        )));
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Measure {
    /// Fields, each fragment counted where it is spread.
    size: usize,
    /// Fields at the top of the set, those of its fragments among them.
    width: usize,
    depth: usize,
    introspection_depth: usize,
    /// Fields of the answer, as estimated, without those of an introspection.
    complexity: u64,
    introspection: u64,
    /// How often `__schema` is asked for.
    schemas: usize,
    /// Bytes of variables, each counted where it is given to an argument.
    input_bytes: u64,
}

struct Measured<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    /// Bytes of each variable.
    given: HashMap<&'d Name, u64>,
    shape: &'d SchemaIndex,
    introspections: introspection::Counter<'d>,
    /// `None` while a fragment is being measured: meeting it again is a cycle.
    fragments: HashMap<&'d Name, Option<Measure>>,
    aliases: usize,
}

impl<'d> Measured<'d> {
    fn selection_set(
        &mut self,
        on: &str,
        set: &'d Positioned<SelectionSet>,
    ) -> Result<Measure, ServerError> {
        let mut sum = Measure::default();
        for selection in &set.node.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(on, &field.node)?,
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    let on = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    let inner = self.selection_set(on, &inline.node.selection_set)?;
                    self.with_directives(inner, &inline.node.directives)
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name;
                    let inner = self.fragment(&name.node, name.pos)?;
                    self.with_directives(inner, &spread.node.directives)
                }
            };
            sum.size = sum.size.saturating_add(part.size);
            sum.width = sum.width.saturating_add(part.width);
            sum.complexity = sum.complexity.saturating_add(part.complexity);
            sum.introspection = sum.introspection.saturating_add(part.introspection);
            sum.schemas = sum.schemas.saturating_add(part.schemas);
            sum.input_bytes = sum.input_bytes.saturating_add(part.input_bytes);
            sum.depth = sum.depth.max(part.depth);
            sum.introspection_depth = sum.introspection_depth.max(part.introspection_depth);
        }
        Ok(sum)
    }

    fn field(&mut self, on: &str, field: &'d Field) -> Result<Measure, ServerError> {
        if field.alias.is_some() {
            self.aliases += 1;
        }
        let shape = self.shape;
        let name = field.name.node.as_str();
        // What is not in the schema is validation's to name.
        let (inside, times) = shape
            .field(on, name)
            .map_or(("", 1), |known| (known.of_type.name(), self.times(on, field, known)));
        let inner = self.selection_set(inside, &field.selection_set)?;
        let arguments = field.arguments.iter().map(|(_, value)| self.input_bytes(&value.node));
        let arguments = arguments.fold(self.directives(&field.directives), u64::saturating_add);
        let measure = Measure {
            size: inner.size.saturating_add(1),
            width: 1,
            depth: inner.depth + 1,
            complexity: inner.complexity.saturating_mul(times).saturating_add(1),
            input_bytes: inner.input_bytes.saturating_mul(times).saturating_add(arguments),
            ..inner
        };
        Ok(match name {
            "__schema" | "__type" => Measure {
                depth: 0,
                introspection_depth: measure.depth,
                complexity: 1,
                introspection: self
                    .introspections
                    .count(field)
                    .map_err(|introspection::TooMuch| too_much_introspection())?,
                schemas: usize::from(name == "__schema"),
                ..measure
            },
            _ => measure,
        })
    }

    fn with_directives(&self, measure: Measure, directives: &[Positioned<Directive>]) -> Measure {
        let bytes = self.directives(directives);
        Measure { input_bytes: measure.input_bytes.saturating_add(bytes), ..measure }
    }

    /// Bytes of the variables in the arguments of directives.
    fn directives<'a>(
        &self,
        directives: impl IntoIterator<Item = &'a Positioned<Directive>>,
    ) -> u64 {
        let directives = directives.into_iter();
        let arguments = directives.flat_map(|directive| &directive.node.arguments);
        let bytes = arguments.map(|(_, value)| self.input_bytes(&value.node));
        bytes.fold(0, u64::saturating_add)
    }

    /// Bytes of the variables in a value.
    fn input_bytes(&self, value: &Value) -> u64 {
        match value {
            Value::Variable(name) => self.given.get(name).copied().unwrap_or_default(),
            Value::List(values) => {
                values.iter().map(|value| self.input_bytes(value)).fold(0, u64::saturating_add)
            }
            Value::Object(members) => {
                members.values().map(|value| self.input_bytes(value)).fold(0, u64::saturating_add)
            }
            _ => 0,
        }
    }

    /// How often what is inside a field is expected in the answer.
    fn times(&self, on: &str, field: &Field, known: &schema_index::Field) -> u64 {
        let is_page =
            known.of_type.name().ends_with("Connection") || known.args.contains_key("first");
        if is_page {
            return self
                .argument(field, &["first", "last"], |value| match value {
                    // What is no size of a page is refused where the page is read.
                    ConstValue::Number(size) => size.as_u64(),
                    _ => None,
                })
                .unwrap_or(PAGE_DEFAULT)
                // An empty page may still be counted.
                .max(1);
        }
        if !known.of_type.is_list() || on.ends_with("Connection") {
            return 1;
        }
        // A list of inputs gives a list of payloads.
        self.argument(field, &["input"], |value| match value {
            ConstValue::List(inputs) => u64::try_from(inputs.len()).ok(),
            _ => None,
        })
        .unwrap_or(LIST_LENGTH)
    }

    /// The largest of some arguments, as its variable says where it is one.
    fn argument(
        &self,
        field: &Field,
        names: &[&str],
        read: impl Fn(&ConstValue) -> Option<u64>,
    ) -> Option<u64> {
        let given = field.arguments.iter().filter(|(name, _)| names.contains(&name.node.as_str()));
        let sizes = given.filter_map(|(_, value)| match &value.node {
            Value::Variable(name) => self.variables.get(name).and_then(&read),
            // A list with variables inside still has its length.
            Value::List(inputs) => read(&ConstValue::List(vec![ConstValue::Null; inputs.len()])),
            value => value.clone().into_const().and_then(|value| read(&value)),
        });
        sizes.max()
    }

    fn fragment(&mut self, name: &'d Name, pos: Pos) -> Result<Measure, ServerError> {
        match self.fragments.get(name) {
            Some(Some(measure)) => return Ok(*measure),
            Some(None) => {
                return Err(invalid(
                    format!("The fragment {:?} contains itself.", name.as_str()),
                    pos,
                ));
            }
            None => {}
        }
        // Validation walks on past it, so this cannot be left to validation.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Err(invalid(format!("There is no fragment {:?}.", name.as_str()), pos));
        };
        self.fragments.insert(name, None);
        let on = fragment.node.type_condition.node.on.node.as_str();
        let measure = self.selection_set(on, &fragment.node.selection_set)?;
        let measure = self.with_directives(measure, &fragment.node.directives);
        self.fragments.insert(name, Some(measure));
        Ok(measure)
    }
}

pub(in crate::graphql) fn invalid(message: String, pos: Pos) -> ServerError {
    let mut error = ServerError::new(message, Some(pos));
    set_code(&mut error, Code::GraphqlValidationFailed);
    error
}

/// The refusal of a document that has more than `max` of something.
pub(in crate::graphql) fn too_long(what: &str, max: usize) -> ServerError {
    too_large(format!("A query has at most {max} {what}."))
}

fn too_large(message: String) -> ServerError {
    error(Code::QueryTooLarge, message)
}
