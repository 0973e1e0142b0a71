//! Prepares and executes requests. Every request over HTTP or WebSocket passes through `QueryExecutor`.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{
    Positioned, Request, Response, ServerError, Variables,
    dataloader::DataLoader,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use futures_util::{StreamExt as _, stream::BoxStream};

use super::{
    collect::collect,
    cost::check_cost,
    document_cache::DocumentCache,
    field_permits::FieldPermits,
    introspection_permits::{IntrospectionPermits, introspect},
    limits::check_subscription_document,
    operation::{add_defaults, check_method, drop_undeclared_variables, find_operation},
    request::{Answer, EventAnswer, Operation, Prepared, Refused},
    response_completion::complete_response,
    role_schemas::RoleSchemas,
    role_visibility::Forbidden,
    validation::Invalid,
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
        subscriptions::Listening,
    },
    limits::memory_budget::Reservation,
};

/// Prepares and executes requests.
#[derive(Clone)]
pub struct QueryExecutor {
    app: Arc<App>,
    schemas: &'static RoleSchemas,
    documents: DocumentCache,
    introspection_permits: Arc<IntrospectionPermits>,
    field_permits: FieldPermits,
}

/// Maximum number of fields and fragments in an introspection that is executed without an
/// introspection permit.
pub const INTROSPECTION_SHORT: u64 = 500;
const FIELD_PERMIT_TIMEOUT: &str = "Timed out while waiting for other large requests from this team. Nothing was \
    changed. Try again.";

impl QueryExecutor {
    pub async fn new(app: Arc<App>) -> Self {
        Self {
            app,
            schemas: RoleSchemas::get().await,
            documents: DocumentCache::default(),
            introspection_permits: Arc::default(),
            field_permits: FieldPermits::default(),
        }
    }

    /// Parses the document of a request, finds the operation and checks the cost. The document is
    /// not validated until the request is executed.
    pub async fn prepare(
        &self,
        caller: Caller,
        operation: Operation,
    ) -> Result<Prepared, ServerError> {
        let document = self.documents.resolve(operation.asked, (&caller).into()).await?;
        let cached = &document.cached;
        let Operation { operation_name, mut variables, is_get, .. } = operation;
        let operation = find_operation(&cached.document, operation_name.as_deref())?;
        check_method(operation, is_get)?;
        drop_undeclared_variables(operation, &mut variables);
        add_defaults(operation, &mut variables);
        let cost = check_cost(&cached.document, &variables, &self.schemas.full.index)?;
        let kind = operation.node.ty;
        if kind == OperationType::Subscription {
            check_subscription_document(cached.tokens, cached.text_bytes)?;
        }
        Ok(Prepared { caller, document, operation_name, variables, kind, cost })
    }

    /// Executes a query or a mutation. `budget` limits the reads of the request, and the memory for
    /// the answer is taken from `reservation`. Permits are awaited until `deadline`. An internal
    /// error shows only `request_id`.
    pub async fn execute(
        &self,
        mut prepared: Prepared,
        budget: ReadBudget,
        deadline: Deadline,
        reservation: Arc<Reservation>,
        request_id: &str,
    ) -> Answer {
        let bytes = usize::try_from(prepared.cost.bytes).unwrap_or(usize::MAX);
        if let Err(fault) = reservation.take(bytes) {
            return Answer::refused(errors::of_fault(&fault, request_id));
        }
        let app = Arc::new(self.app.for_request(budget, request_id));
        let operation = match self.validate(&mut prepared).await {
            Ok(operation) => operation,
            Err(Refused::Invalid(errors)) => return Answer::Refused(errors),
            Err(Refused::Forbidden(forbidden)) => {
                let (caller, mutations) = (&prepared.caller, &forbidden.mutations);
                // The future is boxed, because it is rarely needed and would enlarge the future of
                // every request.
                Box::pin(audit_log::enter_forbidden(&app, caller, mutations)).await;
                return Answer::refused(forbidden.error);
            }
        };
        if prepared.kind == OperationType::Subscription {
            let message =
                "Subscriptions require a WebSocket with the protocol graphql-transport-ws.";
            return Answer::refused(error(Code::BadUserInput, message));
        }
        let introspection_permit = if prepared.cost.introspection > INTROSPECTION_SHORT {
            match self.introspection_permits.wait(&prepared.caller, &deadline).await {
                Ok(permit) => Some(permit),
                Err(refused) => return Answer::refused(refused),
            }
        } else {
            None
        };
        let (caller, fields) = (&prepared.caller, prepared.cost.fields);
        let field_permit = self.field_permits.wait(caller, fields, &deadline).await;
        let Some(field_permit) = field_permit else {
            return Answer::refused(errors::unavailable(FIELD_PERMIT_TIMEOUT));
        };
        let request = Self::request(prepared, operation.clone(), app, reservation);
        let request = request.data(deadline).data(field_permit);
        let schema = &self.schemas.executable;
        let response = match introspection_permit {
            None => schema.execute(request).await,
            Some(permit) => match introspect(schema.clone(), request, permit).await {
                Ok(response) => response,
                Err(error) => return Answer::refused(error),
            },
        };
        self.answer(&operation, response, request_id)
    }

    /// Starts a subscription, and returns its answers, one for each event. When this function
    /// returns, the subscription receives all later events. `budget` limits the reads of the
    /// subscription.
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
        let request = Self::request(prepared, operation.clone(), app, Arc::clone(&reservation));
        let request = request.data(Arc::clone(&listening));
        let mut responses = self.schemas.executable.execute_stream(request);
        tokio::select! {
            biased;
            // If the subscription is refused, there is a response before any event.
            first = responses.next() => {
                let first = first.unwrap_or_default();
                return Err(match self.answer(&operation, first, &request_id) {
                    Answer::Executed(response) => response.errors,
                    Answer::Refused(errors) => errors,
                });
            }
            () = listening.begun.notified() => {}
        }
        let executor = self.clone();
        let answers = responses.map(move |response| {
            let (turn, reservation) = (listening.take_turn(), reservation.moved());
            let answer = executor.answer(&operation, response, &request_id);
            EventAnswer { answer, turn, reservation }
        });
        Ok(answers.boxed())
    }

    /// Validates the document against the schema of the caller's role, unless the document is known
    /// to be valid, and coerces the variables. Returns the operation with its collected fields.
    async fn validate(&self, prepared: &mut Prepared) -> Result<OperationDefinition, Refused> {
        let Prepared { caller, document, operation_name, variables, .. } = prepared;
        let (role, full) = (caller.role(), &self.schemas.full);
        let visible = self.schemas.visible_to(role);
        let parsed = &document.cached.document;
        let invalid = |error| Refused::Invalid(vec![error]);
        let operation = find_operation(parsed, operation_name.as_deref()).map_err(invalid)?;
        if !document.cached.is_valid_for(role) {
            match visible.validate(parsed, &document.text, full, role) {
                Ok(()) => {}
                Err(Invalid::Errors(errors)) => return Err(Refused::Invalid(errors)),
                Err(Invalid::Forbidden(error)) => {
                    let (full, visible) = (&full.index, &visible.index);
                    let forbidden = Forbidden::new(error, parsed, operation, full, visible);
                    return Err(forbidden.map_or_else(invalid, Refused::Forbidden));
                }
            }
        }
        variable_coercion::coerce(operation, variables, &visible.index, &full.index, role)
            .map_err(invalid)?;
        let collected =
            collect(parsed, &operation.node, variables, &full.index).map_err(invalid)?;
        self.documents.insert_valid(document, role).await;
        Ok(collected)
    }

    fn request(
        prepared: Prepared,
        operation: OperationDefinition,
        app: Arc<App>,
        reservation: Arc<Reservation>,
    ) -> Request {
        let Prepared { caller, variables, .. } = prepared;
        let request = to_request(operation, variables);
        let audience = Audience::Role(caller.role());
        let rows = Rows { app: Arc::clone(&app), caller: caller.clone(), reservation };
        request.data(app).data(audience).data(DataLoader::new(rows, loaders::spawn)).data(caller)
    }

    /// Completes async-graphql's response, and adds a code to each error.
    fn answer(
        &self,
        operation: &OperationDefinition,
        mut response: Response,
        request_id: &str,
    ) -> Answer {
        // If the request was executed, the response has data or an error with a path.
        let was_executed = response.data != async_graphql::Value::Null
            || response.errors.iter().any(|error| !error.path.is_empty());
        if !was_executed {
            return Answer::Refused(response.errors.into_iter().map(to_validation_error).collect());
        }
        complete_response(&mut response, operation, &self.schemas.full.index);
        response.errors = errors::settle(response.errors, request_id);
        Answer::Executed(response)
    }
}

/// Returns the request that async-graphql executes.
fn to_request(operation: OperationDefinition, variables: Variables) -> Request {
    let pos = operation.selection_set.pos;
    let mut request = Request::new("").variables(variables);
    request.set_parsed_query(ExecutableDocument {
        operations: DocumentOperations::Single(Positioned::new(operation, pos)),
        fragments: HashMap::new(),
    });
    request
}

fn to_validation_error(mut error: ServerError) -> ServerError {
    error.message = one_line(&error.message);
    error.source = None;
    set_code(&mut error, Code::GraphqlValidationFailed);
    error
}

#[cfg(test)]
mod specification;
