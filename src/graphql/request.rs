//! A request on its way: as it was received, once it may be executed, while it is answered, and its answer.

use std::sync::Arc;

use async_graphql::{
    Response, ServerError, Variables,
    parser::types::{ExecutableDocument, OperationType},
};

use super::{
    cost::Cost,
    documents::{Asked, Found},
    hidden::Forbidden,
};
use crate::domain::{caller::Caller, events::Turn, room::Room};

/// A request for one operation.
#[derive(Debug)]
pub struct Operation {
    pub asked: Asked,
    pub operation_name: Option<String>,
    pub variables: Variables,
    /// By GET, which must change nothing.
    pub is_get: bool,
}

/// A request that may be executed.
pub struct Prepared {
    pub(super) caller: Caller,
    pub(super) found: Found,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
    pub(super) kind: OperationType,
    pub(super) cost: Cost,
    /// Why it will not be executed; it gets this far to be entered in the audit log.
    pub(super) forbidden: Option<Forbidden>,
    /// Its document was validated before, and its variables fit.
    pub(super) is_valid: bool,
}

impl Prepared {
    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether it is a query, a mutation or a subscription.
    pub fn kind(&self) -> OperationType {
        self.kind
    }

    /// The same as a word.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            OperationType::Query => "query",
            OperationType::Mutation => "mutation",
            OperationType::Subscription => "subscription",
        }
    }

    /// How many fields its answer may have, as estimated.
    pub fn complexity(&self) -> u64 {
        self.cost.fields
    }
}

/// What was asked, for as long as it is answered.
pub(super) struct Executed {
    pub document: Arc<ExecutableDocument>,
    pub operation_name: Option<String>,
    pub variables: Variables,
}

impl From<Prepared> for Executed {
    fn from(prepared: Prepared) -> Self {
        let Prepared { found, operation_name, variables, .. } = prepared;
        Self { document: Arc::clone(&found.known.document), operation_name, variables }
    }
}

/// What a request gets back.
#[derive(Debug)]
pub enum Answer {
    /// It was executed, wholly or in part.
    Executed(Response),
    /// Nothing was executed.
    Refused(Vec<ServerError>),
}

/// What a subscription answers to one event.
pub struct EventAnswer {
    pub answer: Answer,
    /// The event's turn, to be kept until the answer is ready to be sent.
    pub turn: Option<Turn>,
    /// What the answer takes of the room of all, to be kept until it is sent.
    pub room: Room,
}

impl Answer {
    pub fn refused(error: ServerError) -> Self {
        Self::Refused(vec![error])
    }

    /// What went wrong, if anything did.
    pub fn errors(&self) -> &[ServerError] {
        match self {
            Self::Executed(response) => &response.errors,
            Self::Refused(errors) => errors,
        }
    }
}
