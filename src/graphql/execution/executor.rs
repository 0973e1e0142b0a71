//! The one way a request is executed: prepared, refused or not, and then run.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_graphql::{
    Executor, Name, Positioned, Request, Response, ServerError, ValidationMode, Variables,
    dataloader::DataLoader,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use entity::api_key::Role;
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::sync::OnceCell;

use super::{
    collect::collect,
    cost,
    document_cache::Documents,
    field_permits::FieldPermits,
    introspection_permits::{IntrospectionPermits, introspect},
    request::{Answer, EventAnswer, Operation, Prepared, Refused},
    response_completion,
    role_visibility::Forbidden,
    schema_index::{self, SchemaIndex},
    subscription_root::check_subscription_root,
    validation::{Invalid, RoleSchema},
    variable_coercion,
};
use crate::{
    app::App,
    db::ReadBudget,
    domain::{caller::Caller, deadline::Deadline},
    graphql::{
        access::Audience,
        audit_log,
        errors::{self, Code, error, one_line, set_code},
        loaders::{self, Rows},
        schema::{TollgateSchema, schema},
        subscriptions::Listening,
    },
    limits::memory_budget::Reservation,
};

/// Executes requests.
#[derive(Clone)]
pub struct QueryExecutor {
    app: Arc<App>,
    /// The same for the whole process.
    schemas: &'static Schemas,
    documents: Documents,
    introspections: Arc<IntrospectionPermits>,
    fields: FieldPermits,
}

/// Fields and fragments of an introspection that are executed among other requests.
const INTROSPECTION_SHORT: u64 = 500;
const LATE: &str = "Other large requests of this team took too long; nothing was done. Try again.";

/// The schema, and what each role sees of it.
struct Schemas {
    /// Executes what was validated.
    executed: TollgateSchema,
    full: Seen,
    operator: Seen,
    main_account: Seen,
    sub_account: Seen,
}

/// What is seen of the schema: to look things up in, and to validate against.
struct Seen {
    shape: SchemaIndex,
    definition: RoleSchema,
}

static SCHEMAS: OnceCell<Schemas> = OnceCell::const_new();

impl QueryExecutor {
    pub async fn new(app: Arc<App>) -> Self {
        Self {
            app,
            schemas: SCHEMAS.get_or_init(Schemas::new).await,
            documents: Documents::default(),
            introspections: Arc::default(),
            fields: FieldPermits::default(),
        }
    }

    /// Reads a request of this caller: which operation it is, and what it costs. Whether it is valid and the caller may
    /// ask it is seen when it is executed.
    pub async fn prepare(
        &self,
        caller: Caller,
        operation: Operation,
    ) -> Result<Prepared, ServerError> {
        let found = self.documents.find(operation.asked, (&caller).into()).await?;
        let document = &found.known.document;
        let Operation { operation_name, mut variables, is_get, .. } = operation;
        let operation = find_operation(document, operation_name.as_deref())?;
        check_method(operation, is_get)?;
        keep_declared(operation, &mut variables);
        complete_variables(operation, &mut variables);
        let cost = cost::check_cost(document, &variables, &self.schemas.full.shape)?;
        let kind = operation.node.ty;
        if kind == OperationType::Subscription {
            cost::check_subscription_document(found.known.tokens, found.known.text_bytes)?;
        }
        Ok(Prepared { caller, found, operation_name, variables, kind, cost })
    }

    /// Executes a query or a mutation of a caller who waits as long as its `deadline`. It reads within
    /// `budget`, and what the answer holds is taken from `reservation`. `request_id` is what is shown of an internal
    /// error.
    pub async fn execute(
        &self,
        mut prepared: Prepared,
        budget: ReadBudget,
        deadline: Deadline,
        reservation: Arc<Reservation>,
        request_id: &str,
    ) -> Answer {
        let app = Arc::new(self.app.for_request(budget, request_id));
        let bytes = usize::try_from(prepared.cost.bytes).unwrap_or(usize::MAX);
        if let Err(fault) = reservation.take(bytes) {
            return Answer::refused(errors::of_fault(&fault, request_id));
        }
        let operation = match self.validate(&mut prepared).await {
            Ok(operation) => operation,
            Err(Refused::Invalid(errors)) => return Answer::Refused(errors),
            Err(Refused::Forbidden(forbidden)) => {
                let (caller, mutations) = (&prepared.caller, &forbidden.mutations);
                // Boxed, because every request is copied with it, and this is rare.
                Box::pin(audit_log::enter_forbidden(&app, caller, mutations)).await;
                return Answer::refused(forbidden.error);
            }
        };
        if prepared.kind == OperationType::Subscription {
            let message = "A subscription needs a WebSocket that speaks graphql-transport-ws.";
            return Answer::refused(error(Code::BadUserInput, message));
        }
        let turn = if prepared.cost.introspection > INTROSPECTION_SHORT {
            match self.introspections.wait(&prepared.caller, &deadline).await {
                Ok(turn) => Some(turn),
                Err(refused) => return Answer::refused(refused),
            }
        } else {
            None
        };
        let fields = self.fields.wait(&prepared.caller, prepared.cost.fields, &deadline).await;
        let Some(field_permit) = fields else { return Answer::refused(errors::unavailable(LATE)) };
        let request = self.request(prepared, operation.clone(), app, reservation);
        let request = request.data(deadline).data(field_permit);
        let response = match turn {
            None => self.schemas.executed.execute(request).await,
            Some(turn) => match introspect(self.schemas.executed.clone(), request, turn).await {
                Ok(response) => response,
                Err(stopped) => return Answer::refused(stopped),
            },
        };
        self.answer(&operation, response, request_id)
    }

    /// Begins a subscription, for which it reads within `budget`: its answers, one for each event, or why
    /// there are none. It listens when this returns.
    pub async fn subscribe(
        &self,
        mut prepared: Prepared,
        budget: ReadBudget,
        request_id: String,
    ) -> Result<BoxStream<'static, EventAnswer>, Vec<ServerError>> {
        let operation = self.validate(&mut prepared).await.map_err(|refused| match refused {
            Refused::Invalid(errors) => errors,
            Refused::Forbidden(forbidden) => vec![forbidden.error],
        })?;
        let listening = Arc::new(Listening::default());
        let reservation = Arc::new(self.app.memory_budget.of(prepared.caller.team_scope()));
        let app = Arc::new(self.app.for_request(budget, &request_id));
        let request = self.request(prepared, operation.clone(), app, Arc::clone(&reservation));
        let request = request.data(Arc::clone(&listening));
        let mut responses = self.schemas.executed.execute_stream(request);
        tokio::select! {
            biased;
            // What is refused is answered before there is any event.
            first = responses.next() => {
                let first = first.unwrap_or_default();
                return Err(match self.answer(&operation, first, &request_id) {
                    Answer::Executed(response) => response.errors,
                    Answer::Refused(errors) => errors,
                });
            }
            () = listening.begun.notified() => {}
        }
        let api = self.clone();
        let answers = responses.map(move |response| {
            let (turn, reservation) = (listening.take_turn(), reservation.moved());
            EventAnswer { answer: api.answer(&operation, response, &request_id), turn, reservation }
        });
        Ok(answers.boxed())
    }

    /// Validates the document against the schema of the caller's role, unless it is known to be valid, and coerces the
    /// variables. What is executed is the operation that this returns.
    async fn validate(&self, prepared: &mut Prepared) -> Result<OperationDefinition, Refused> {
        let Prepared { caller, found, operation_name, variables, .. } = prepared;
        let (role, full) = (caller.role(), &self.schemas.full);
        let seen = self.schemas.seen_by(role);
        let document = &found.known.document;
        let invalid = |error| Refused::Invalid(vec![error]);
        let operation = find_operation(document, operation_name.as_deref()).map_err(invalid)?;
        if !found.known.is_valid_for(role) {
            match validate_document(document, &found.text, seen, full, role) {
                Ok(()) => {}
                Err(Invalid::Errors(errors)) => return Err(Refused::Invalid(errors)),
                Err(Invalid::Forbidden(error)) => {
                    let (full, shape) = (&full.shape, &seen.shape);
                    let forbidden = Forbidden::new(error, document, operation, full, shape);
                    return Err(forbidden.map_or_else(invalid, Refused::Forbidden));
                }
            }
        }
        variable_coercion::coerce(operation, variables, &seen.shape, &full.shape, role)
            .map_err(invalid)?;
        let collected =
            collect(document, &operation.node, variables, &full.shape).map_err(invalid)?;
        self.documents.keep(found, role).await;
        Ok(collected)
    }

    fn request(
        &self,
        prepared: Prepared,
        operation: OperationDefinition,
        app: Arc<App>,
        reservation: Arc<Reservation>,
    ) -> Request {
        let Prepared { caller, variables, .. } = prepared;
        let request = to_request(operation, variables);
        let viewpoint = Audience::Role(caller.role());
        let rows = Rows { app: Arc::clone(&app), caller: caller.clone(), reservation };
        request.data(app).data(viewpoint).data(DataLoader::new(rows, loaders::spawn)).data(caller)
    }

    /// What the library answered, as the specification and the closed list of codes have it.
    fn answer(
        &self,
        operation: &OperationDefinition,
        mut response: Response,
        request_id: &str,
    ) -> Answer {
        // A request that was executed at all has data or the path of a failed field.
        let was_executed = response.data != async_graphql::Value::Null
            || response.errors.iter().any(|error| !error.path.is_empty());
        if !was_executed {
            return Answer::Refused(response.errors.into_iter().map(invalid).collect());
        }
        response_completion::complete_response(&mut response, operation, &self.schemas.full.shape);
        response.errors = errors::settle(response.errors, request_id);
        Answer::Executed(response)
    }
}

impl Schemas {
    async fn new() -> Self {
        // Documents are validated before the library has them, and each request brings the app, with its own budget.
        let executed = schema().validation_mode(ValidationMode::Fast).finish();
        Self {
            full: Seen::by(&executed, Audience::Everything).await,
            operator: Seen::by(&executed, Audience::Role(Role::Operator)).await,
            main_account: Seen::by(&executed, Audience::Role(Role::MainAccount)).await,
            sub_account: Seen::by(&executed, Audience::Role(Role::SubAccount)).await,
            executed,
        }
    }

    fn seen_by(&self, role: Role) -> &Seen {
        match role {
            Role::Operator => &self.operator,
            Role::MainAccount => &self.main_account,
            Role::SubAccount => &self.sub_account,
        }
    }
}

impl Seen {
    async fn by<E: Executor>(schema: &E, viewpoint: Audience) -> Self {
        let answer =
            schema.execute(Request::new(schema_index::INTROSPECTION).data(viewpoint)).await;
        let answer = answer.data.into_json().expect("introspection is plain JSON");
        let shape = SchemaIndex::read(answer).expect("introspection answers what was asked");
        let definition = RoleSchema::new(&shape);
        Self { shape, definition }
    }
}

/// Validates a document, all of its operations, against the schema of a role.
fn validate_document(
    document: &ExecutableDocument,
    text: &str,
    seen: &Seen,
    full: &Seen,
    role: Role,
) -> Result<(), Invalid> {
    seen.definition.validate(text, &full.definition, role)?;
    for (_, operation) in document.operations.iter() {
        check_subscription_root(document, operation)
            .map_err(|error| Invalid::Errors(vec![error]))?;
    }
    Ok(())
}

/// The request that the library executes.
fn to_request(operation: OperationDefinition, variables: Variables) -> Request {
    let pos = operation.selection_set.pos;
    let mut request = Request::new("").variables(variables);
    request.set_parsed_query(ExecutableDocument {
        operations: DocumentOperations::Single(Positioned::new(operation, pos)),
        fragments: HashMap::new(),
    });
    request
}

fn invalid(mut failure: ServerError) -> ServerError {
    failure.message = one_line(&failure.message);
    failure.source = None;
    set_code(&mut failure, Code::GraphqlValidationFailed);
    failure
}

/// The operation to execute.
fn find_operation<'d>(
    document: &'d ExecutableDocument,
    name: Option<&str>,
) -> Result<&'d Positioned<OperationDefinition>, ServerError> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(known, _)| known.is_some_and(|known| known == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    let message = match name {
        Some(_) => "The document has no operation of this operationName.",
        None => "The document has several operations; name one as operationName.",
    };
    let (_, operation) = found.ok_or_else(|| error(Code::OperationResolutionFailure, message))?;
    Ok(operation)
}

/// A GET is followed by whoever sees its address, so it must change nothing.
fn check_method(
    operation: &Positioned<OperationDefinition>,
    is_get: bool,
) -> Result<(), ServerError> {
    if is_get && operation.node.ty != OperationType::Query {
        return Err(error(Code::MethodNotAllowed, "Only a query can be asked with GET; use POST."));
    }
    Ok(())
}

/// Drops the variables that the operation does not declare: nothing can use them, and a subscription would hold
/// them for as long as it lasts.
fn keep_declared(operation: &Positioned<OperationDefinition>, variables: &mut Variables) {
    let declared = operation.node.variable_definitions.iter();
    let declared: HashSet<&Name> = declared.map(|known| &known.node.name.node).collect();
    variables.retain(|name, _| declared.contains(name));
}

/// Completes the variables with their defaults, as section 6.1.2 of the specification has it: the
/// library forgets defaults where it looks at `@skip` and `@include`.
fn complete_variables(operation: &Positioned<OperationDefinition>, variables: &mut Variables) {
    for definition in &operation.node.variable_definitions {
        let name = &definition.node.name.node;
        if let (None, Some(default)) = (variables.get(name), &definition.node.default_value) {
            variables.insert(name.clone(), default.node.clone());
        }
    }
}

#[cfg(test)]
mod specification;
