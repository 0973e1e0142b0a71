//! The schema: its features merged, and the one way a request is executed.

use std::sync::Arc;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{
    EmptySubscription, MergedObject, Request, Response, Schema, ServerError, Variables,
    dataloader::DataLoader,
};
use entity::api_key::Role;
use moka::future::Cache;

use crate::{
    App,
    domain::{billing::Patience, caller::Caller},
};

mod access;
mod account;
mod api_key;
mod cost;
pub mod errors;
mod hidden;
mod ledger;
mod loaders;
mod mend;
mod message;
mod page;
pub mod scalars;
mod shape;
mod sub_account;
mod sub_account_list;
mod team;
mod usage;
mod viewer;

use access::Viewpoint;
use errors::{Code, error, one_line, set_code};
use loaders::Rows;
use shape::Shape;

/// What can be asked. What a field needs, and what it shows to which key, stands in its description.
#[derive(MergedObject, Default)]
pub struct Query(
    viewer::ViewerQuery,
    account::AccountQuery,
    message::MessageQuery,
    sub_account_list::SubAccountQuery,
    ledger::LedgerQuery,
    team::TeamQuery,
);

/// What can be done. Every field answers with a payload: the object, null exactly when refused, and
/// errors. A field is null if it failed otherwise; a top-level error then says why.
#[derive(MergedObject, Default)]
pub struct Mutation(
    message::MessageMutation,
    sub_account::SubAccountMutation,
    api_key::ApiKeyMutation,
    team::TeamMutation,
);

type TollgateSchema = Schema<Query, Mutation, EmptySubscription>;

/// The schema, and what each role sees of it.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
    schema: TollgateSchema,
    shapes: Arc<Shapes>,
    /// Documents that passed validation, by their text. Limits and roles are checked each time.
    documents: Cache<String, Arc<ExecutableDocument>>,
}

/// Bytes that known documents take at most, as estimated.
const DOCUMENTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A parsed document takes many times the bytes of its text.
fn bytes_of(text: &str) -> u32 {
    u32::try_from(4_096 + 32 * text.len()).unwrap_or(u32::MAX)
}

struct Shapes {
    full: Shape,
    operator: Shape,
    main_account: Shape,
    sub_account: Shape,
}

/// A request for one operation.
#[derive(Debug, Default)]
pub struct Operation {
    pub query: String,
    pub operation_name: Option<String>,
    pub variables: Variables,
}

/// What a request gets back.
#[derive(Debug)]
pub enum Answer {
    /// It was executed, wholly or in part.
    Executed(Response),
    /// Nothing was executed.
    Refused(Vec<ServerError>),
}

/// The whole schema in the schema language, hidden fields too.
pub fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new().include_specified_by();
    schema().finish().sdl_with_options(options)
}

fn schema() -> async_graphql::SchemaBuilder<Query, Mutation, EmptySubscription> {
    Schema::build(Query::default(), Mutation::default(), EmptySubscription).disable_suggestions()
}

impl Api {
    pub async fn new(app: Arc<App>) -> Self {
        let schema = schema().data(Arc::clone(&app)).finish();
        let shapes = Shapes {
            full: shape_of(&schema, Viewpoint::Everything).await,
            operator: shape_of(&schema, Viewpoint::Role(Role::Operator)).await,
            main_account: shape_of(&schema, Viewpoint::Role(Role::MainAccount)).await,
            sub_account: shape_of(&schema, Viewpoint::Role(Role::SubAccount)).await,
        };
        let documents = Cache::builder()
            .max_capacity(DOCUMENTS_BYTES_MAX)
            .weigher(|text: &String, _| bytes_of(text))
            .build();
        Self { app, schema, shapes: Arc::new(shapes), documents }
    }

    /// Executes a request of this caller, who waits as long as its `patience`. `request_id` is what is
    /// shown of an internal error.
    pub async fn execute(
        &self,
        caller: Caller,
        operation: Operation,
        patience: Patience,
        request_id: &str,
    ) -> Answer {
        let Operation { query, operation_name, mut variables } = operation;
        if query.chars().count() > cost::QUERY_CHARS_MAX {
            let message = format!("A query has at most {} characters.", cost::QUERY_CHARS_MAX);
            return Answer::refused(error(Code::QueryTooLarge, message));
        }
        let known = self.documents.get(&query).await;
        let document = match known.clone().map_or_else(|| parse(&query), Ok) {
            Ok(document) => document,
            Err(refused) => return Answer::refused(refused),
        };
        let shape = self.shapes.of(caller.role());
        let checked = cost::check_cost(&document)
            .and_then(|()| cost::check_mutation_keys(&document))
            .and_then(|()| hidden::check_hidden(&document, &variables, &self.shapes.full, shape))
            .and_then(|()| {
                complete_variables(&document, operation_name.as_deref(), &mut variables)
            });
        if let Err(refused) = checked {
            return Answer::refused(refused);
        }

        let mut request = Request::new(query.as_str()).variables(variables.clone());
        request.operation_name.clone_from(&operation_name);
        request.set_parsed_query((*document).clone());
        let rows = Rows { app: Arc::clone(&self.app), caller: caller.clone() };
        let request = request
            .data(Viewpoint::Role(caller.role()))
            .data(DataLoader::new(rows, loaders::spawn))
            .data(patience)
            .data(caller);
        let mut response = self.schema.execute(request).await;
        // A request that was executed at all has data or the path of a failed field.
        let was_executed = response.data != async_graphql::Value::Null
            || response.errors.iter().any(|error| !error.path.is_empty());
        if !was_executed {
            return Answer::Refused(response.errors.into_iter().map(invalid).collect());
        }
        if known.is_none() {
            self.documents.insert(query, Arc::clone(&document)).await;
        }
        let operation_name = operation_name.as_deref();
        mend::mend(&mut response, &document, operation_name, &variables, &self.shapes.full);
        let settle = |error| errors::settle(error, request_id);
        response.errors = response.errors.into_iter().map(settle).collect();
        Answer::Executed(response)
    }
}

impl Shapes {
    fn of(&self, role: Role) -> &Shape {
        match role {
            Role::Operator => &self.operator,
            Role::MainAccount => &self.main_account,
            Role::SubAccount => &self.sub_account,
        }
    }
}

impl Answer {
    pub fn refused(error: ServerError) -> Self {
        Self::Refused(vec![error])
    }
}

async fn shape_of(schema: &TollgateSchema, viewpoint: Viewpoint) -> Shape {
    let answer = schema.execute(Request::new(shape::INTROSPECTION).data(viewpoint)).await;
    let answer = answer.data.into_json().expect("introspection is plain JSON");
    Shape::read(answer).expect("introspection answers what was asked")
}

fn parse(query: &str) -> Result<Arc<ExecutableDocument>, ServerError> {
    let document = async_graphql::parser::parse_query(query);
    document.map(Arc::new).map_err(|failure| parse_failure(&failure.into()))
}

/// The parser's errors draw pictures and echo the query; one line with a position is enough.
fn parse_failure(failure: &ServerError) -> ServerError {
    let mut refused = error(Code::GraphqlParseFailed, "The query is not written in GraphQL.");
    refused.locations.clone_from(&failure.locations);
    refused
}

fn invalid(mut failure: ServerError) -> ServerError {
    failure.message = one_line(&failure.message);
    failure.source = None;
    set_code(&mut failure, Code::GraphqlValidationFailed);
    failure
}

/// Finds the operation to execute and completes its variables with their defaults, as section 6.1.2 of
/// the specification has it: the library forgets defaults where it looks at `@skip` and `@include`.
fn complete_variables(
    document: &ExecutableDocument,
    name: Option<&str>,
    variables: &mut Variables,
) -> Result<(), ServerError> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(known, _)| known.is_some_and(|known| known == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    let Some((_, operation)) = found else {
        let message = match name {
            Some(_) => "The document has no operation of this operationName.",
            None => "The document has several operations; name one as operationName.",
        };
        return Err(error(Code::OperationResolutionFailure, message));
    };
    for definition in &operation.node.variable_definitions {
        let definition = &definition.node;
        let name = &definition.name.node;
        if let (None, Some(default)) = (variables.get(name), &definition.default_value) {
            variables.insert(name.clone(), default.node.clone());
        }
        let given = variables.get(name);
        let is_missing = given.is_none_or(|value| *value == async_graphql::Value::Null);
        if is_missing && !definition.var_type.node.nullable {
            return Err(error(Code::BadUserInput, format!("The variable ${name} must be given.")));
        }
    }
    Ok(())
}
