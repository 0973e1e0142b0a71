//! A request on its way: as it was received, once it may be executed, while it is answered, and its answer.

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
    pub asked: DocumentSource,
    pub operation_name: Option<String>,
    pub variables: Variables,
    /// By GET, which must change nothing.
    pub is_get: bool,
}

/// A request whose document was read, whose operation was found, and whose cost is known.
pub struct Prepared {
    pub(in crate::graphql) caller: Caller,
    pub(in crate::graphql) found: ResolvedDocument,
    pub(in crate::graphql) operation_name: Option<String>,
    pub(in crate::graphql) variables: Variables,
    pub(in crate::graphql) kind: OperationType,
    pub(in crate::graphql) cost: Cost,
}

/// Why a request is not executed.
pub(in crate::graphql) enum Refused {
    Invalid(Vec<ServerError>),
    /// To be entered in the audit log.
    Forbidden(Forbidden),
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
    pub reservation: Reservation,
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
