//! The one way a request is executed: prepared, refused or not, and then run.

use std::{collections::HashSet, sync::Arc};

use async_graphql::{
    Name, Positioned, Request, Response, ServerError, ValidationMode, Variables,
    dataloader::DataLoader,
    parser::types::{ExecutableDocument, OperationDefinition, OperationType},
};
use entity::api_key::Role;
use futures_util::{StreamExt as _, stream::BoxStream};

use super::{
    TollgateSchema, absent_variables,
    access::Viewpoint,
    audit_log::{self, RequestId},
    coercion, cost,
    documents::Documents,
    errors::{self, Code, error, one_line, set_code},
    hidden::{self, Forbidden},
    introspection_turns::{IntrospectionTurns, introspect},
    loaders::{self, Rows},
    mend, positions,
    request::{Answer, EventAnswer, Executed, Operation, Prepared},
    root_fields, schema,
    shape::{self, Shape},
    updates::Listening,
    validation::Validator,
};
use crate::{
    App,
    db::ReadBudget,
    domain::{billing::Patience, caller::Caller, room::Room},
};

/// The schema, and what each role sees of it.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
    validator: Validator,
    /// Executes what was validated.
    schema: TollgateSchema,
    shapes: Arc<Shapes>,
    documents: Documents,
    introspections: Arc<IntrospectionTurns>,
}

/// Fields and fragments of an introspection that are executed among other requests.
const INTROSPECTION_SHORT: u64 = 500;

struct Shapes {
    full: Shape,
    operator: Shape,
    main_account: Shape,
    sub_account: Shape,
}

impl Api {
    pub async fn new(app: Arc<App>) -> Self {
        // Each request brings the app, with its own budget.
        let schema = schema().validation_mode(ValidationMode::Fast).finish();
        let shapes = Shapes {
            full: shape_of(&schema, Viewpoint::Everything).await,
            operator: shape_of(&schema, Viewpoint::Role(Role::Operator)).await,
            main_account: shape_of(&schema, Viewpoint::Role(Role::MainAccount)).await,
            sub_account: shape_of(&schema, Viewpoint::Role(Role::SubAccount)).await,
        };
        Self {
            app,
            validator: Validator::default(),
            schema,
            shapes: Arc::new(shapes),
            documents: Documents::default(),
            introspections: Arc::default(),
        }
    }

    /// Looks at a request of this caller: what it is, what it costs, and whether the caller may ask
    /// it. Nothing is executed yet.
    pub async fn prepare(
        &self,
        caller: Caller,
        operation: Operation,
    ) -> Result<Prepared, ServerError> {
        let found = self.documents.find(operation.asked, (&caller).into()).await?;
        let document = &found.known.document;
        let Operation { operation_name, mut variables, is_get, .. } = operation;
        let full = &self.shapes.full;
        let operation = find_operation(document, operation_name.as_deref())?;
        check_method(operation, is_get)?;
        keep_declared(operation, &mut variables);
        complete_variables(operation, &mut variables);
        let cost = cost::check_cost(document, &variables, full)?;
        root_fields::check_mutation_keys(document)?;
        let kind = operation.node.ty;
        if kind == OperationType::Subscription {
            cost::check_subscription_document(found.known.tokens, found.known.text_bytes)?;
        }
        let shape = self.shapes.of(caller.role());
        let hidden = hidden::check_hidden(document, operation, &variables, full, shape);
        let forbidden = if let Err(error) = hidden {
            Some(Forbidden::new(error, document, operation, full, shape)?)
        } else {
            if found.is_new {
                positions::check_positions(document, full)?;
            }
            root_fields::check_subscription_root(operation)?;
            check_variables(operation, &variables)?;
            None
        };
        let is_valid = !found.is_new
            && found.known.takes_variables_whole
            && coercion::fit(operation, &variables, full);
        Ok(Prepared { caller, found, operation_name, variables, kind, cost, forbidden, is_valid })
    }

    /// Executes a query or a mutation of a caller who waits as long as its `patience`. It reads within
    /// `budget`, and what the answer holds is taken from `room`. `request_id` is what is shown of an internal
    /// error.
    pub async fn execute(
        &self,
        prepared: Prepared,
        budget: ReadBudget,
        patience: Patience,
        room: Arc<Room>,
        request_id: &str,
    ) -> Answer {
        if let Some(forbidden) = prepared.forbidden {
            let (caller, mutations) = (&prepared.caller, &forbidden.mutations);
            // Boxed, because every request is copied with it, and this is rare.
            Box::pin(audit_log::enter_forbidden(&self.app, caller, request_id, mutations)).await;
            return Answer::refused(forbidden.error);
        }
        let bytes = usize::try_from(prepared.cost.bytes).unwrap_or(usize::MAX);
        if let Err(fault) = room.take(bytes) {
            return Answer::refused(errors::of_fault(&fault, request_id));
        }
        if let Err(errors) = self.validate(&prepared).await {
            return Answer::Refused(errors);
        }
        let turn = if prepared.cost.introspection > INTROSPECTION_SHORT {
            match self.introspections.wait(&prepared.caller, &patience).await {
                Ok(turn) => Some(turn),
                Err(refused) => return Answer::refused(refused),
            }
        } else {
            None
        };
        let request_id_of_entries = RequestId(request_id.to_owned());
        let request = self.request(&prepared, budget, room).data(patience);
        let request = request.data(request_id_of_entries);
        let response = match turn {
            None => self.schema.execute(request).await,
            Some(turn) => match introspect(self.schema.clone(), request, turn).await {
                Ok(response) => response,
                Err(stopped) => return Answer::refused(stopped),
            },
        };
        self.answer(&prepared.into(), response, request_id)
    }

    /// Begins a subscription, for which it reads within `budget`: its answers, one for each event, or why
    /// there are none. It listens when this returns.
    pub async fn subscribe(
        &self,
        prepared: Prepared,
        budget: ReadBudget,
        request_id: String,
    ) -> Result<BoxStream<'static, EventAnswer>, Vec<ServerError>> {
        self.validate(&prepared).await?;
        let listening = Arc::new(Listening::default());
        let room = Arc::new(self.app.rooms.of(prepared.caller.team_scope()));
        let request = self.request(&prepared, budget, Arc::clone(&room));
        let request = request.data(Arc::clone(&listening));
        let mut responses = self.schema.execute_stream(request);
        // The rest of what was prepared is not kept for as long as the subscription lasts.
        let asked = Executed::from(prepared);
        tokio::select! {
            biased;
            // What is refused is answered before there is any event.
            first = responses.next() => {
                let first = first.unwrap_or_default();
                return Err(match self.answer(&asked, first, &request_id) {
                    Answer::Executed(response) => response.errors,
                    Answer::Refused(errors) => errors,
                });
            }
            () = listening.begun.notified() => {}
        }
        let api = self.clone();
        let answers = responses.map(move |response| {
            let (turn, room) = (listening.take_turn(), room.moved());
            EventAnswer { answer: api.answer(&asked, response, &request_id), turn, room }
        });
        Ok(answers.boxed())
    }

    /// Validates the document as it was sent, unless that is known to be valid with such variables.
    async fn validate(&self, prepared: &Prepared) -> Result<(), Vec<ServerError>> {
        let Prepared { found, operation_name, variables, .. } = prepared;
        if !prepared.is_valid {
            let document = &found.known.executed;
            let validated =
                self.validator.validate(document, operation_name.as_deref(), variables).await;
            validated.map_err(|errors| errors.into_iter().map(invalid).collect::<Vec<_>>())?;
        }
        self.documents.keep(found).await;
        Ok(())
    }

    fn request(&self, prepared: &Prepared, budget: ReadBudget, room: Arc<Room>) -> Request {
        let Prepared { caller, found, operation_name, variables, .. } = prepared;
        let mut document = found.known.executed.clone();
        let shape = &self.shapes.full;
        absent_variables::leave_out(&mut document, operation_name.as_deref(), variables, shape);
        let mut request = Request::new("").variables(variables.clone());
        request.operation_name.clone_from(operation_name);
        request.set_parsed_query(document);
        let app = Arc::new(self.app.for_request(budget));
        let rows = Rows { app: Arc::clone(&app), caller: caller.clone(), room };
        request
            .data(app)
            .data(Viewpoint::Role(caller.role()))
            .data(DataLoader::new(rows, loaders::spawn))
            .data(caller.clone())
    }

    /// What the library answered, as the specification and the closed list of codes have it.
    fn answer(&self, executed: &Executed, mut response: Response, request_id: &str) -> Answer {
        // A request that was executed at all has data or the path of a failed field.
        let was_executed = response.data != async_graphql::Value::Null
            || response.errors.iter().any(|error| !error.path.is_empty());
        if !was_executed {
            return Answer::Refused(response.errors.into_iter().map(invalid).collect());
        }
        let Executed { document, operation_name, variables } = executed;
        let operation_name = operation_name.as_deref();
        mend::mend(&mut response, document, operation_name, variables, &self.shapes.full);
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

async fn shape_of(schema: &TollgateSchema, viewpoint: Viewpoint) -> Shape {
    let answer = schema.execute(Request::new(shape::INTROSPECTION).data(viewpoint)).await;
    let answer = answer.data.into_json().expect("introspection is plain JSON");
    Shape::read(answer).expect("introspection answers what was asked")
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

fn check_variables(
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
) -> Result<(), ServerError> {
    for definition in &operation.node.variable_definitions {
        let name = &definition.node.name.node;
        let given = variables.get(name);
        let is_missing = given.is_none_or(|value| *value == async_graphql::Value::Null);
        if is_missing && !definition.node.var_type.node.nullable {
            return Err(error(Code::BadUserInput, format!("The variable ${name} must be given.")));
        }
    }
    Ok(())
}
