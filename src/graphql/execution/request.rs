//! The states of a request: received, prepared, and then answered or refused.

use async_graphql::{Response, ServerError, Variables, parser::types::OperationType};

use super::{
    cost::Cost,
    document_cache::{DocumentSource, ResolvedDocument},
    role_visibility::Forbidden,
};
use crate::{
    domain::{caller::Caller, events::Turn},
    limits::memory_budget::Reservation,
};

/// A request for one operation.
#[derive(Debug)]
pub struct Operation {
    /// How the request identifies its document.
    pub asked: DocumentSource,
    pub operation_name: Option<String>,
    pub variables: Variables,
    /// Whether the HTTP method is GET. GET allows only queries.
    pub is_get: bool,
}

/// A request that can be executed: its document has been parsed, its operation exists, and its cost
/// is within the limits.
pub struct Prepared {
    pub(in crate::graphql) caller: Caller,
    pub(in crate::graphql) document: ResolvedDocument,
    pub(in crate::graphql) operation_name: Option<String>,
    pub(in crate::graphql) variables: Variables,
    pub(in crate::graphql) kind: OperationType,
    pub(in crate::graphql) cost: Cost,
}

/// The reason why a request is not executed.
pub(in crate::graphql) enum Refused {
    Invalid(Vec<ServerError>),
    /// The caller's role does not see some of the mutations. They are recorded in the audit log.
    Forbidden(Forbidden),
}

impl Prepared {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub fn kind(&self) -> OperationType {
        self.kind
    }

    /// Returns the kind of the operation as it is written to logs.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            OperationType::Query => "query",
            OperationType::Mutation => "mutation",
            OperationType::Subscription => "subscription",
        }
    }

    /// Returns the estimated number of fields in the response, including those of an introspection.
    pub fn complexity(&self) -> u64 {
        self.cost.fields
    }
}

/// The result of a request.
#[derive(Debug)]
pub enum Answer {
    /// The operation was executed. Individual fields may have failed.
    Executed(Response),
    /// Nothing was executed.
    Refused(Vec<ServerError>),
}

/// The result that a subscription has for one event.
pub struct EventAnswer {
    pub answer: Answer,
    /// The turn of the event. It must be kept until the answer is ready to be sent.
    pub turn: Option<Turn>,
    /// The memory reservation for the answer. It must be kept until the answer has been sent.
    pub reservation: Reservation,
}

impl Answer {
    pub fn refused(error: ServerError) -> Self {
        Self::Refused(vec![error])
    }

    pub fn errors(&self) -> &[ServerError] {
        match self {
            Self::Executed(response) => &response.errors,
            Self::Refused(errors) => errors,
        }
    }
}
