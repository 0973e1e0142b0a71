//! The GraphQL schema, merged from the features' queries and mutations.

use async_graphql::{MergedObject, Schema, SchemaBuilder};

mod access;
mod account;
mod api_key;
mod audit_log;
mod billing;
mod connection;
mod contact;
pub mod errors;
mod execution;
mod loaders;
mod message;
mod opt_out;
mod phone_number;
pub mod reference;
pub mod scalars;
mod sender;
mod subscriptions;
mod team;
mod template;
mod viewer;

pub use execution::document_cache::DocumentSource;
pub use execution::executor::QueryExecutor;
pub use execution::limits::COMPLEXITY_MAX;
pub use execution::request::{Answer, EventAnswer, Operation, Prepared};

use audit_log::Audited;
use subscriptions::Updates;

/// Queries. The description of a field says which key it requires. Fields without such a sentence
/// accept any valid key.
#[derive(MergedObject, Default)]
pub struct Query(
    viewer::ViewerQuery,
    account::AccountQuery,
    message::send::MessageQuery,
    message::list::MessageListQuery,
    contact::list::ContactQuery,
    opt_out::OptOutQuery,
    phone_number::list::PhoneNumberQuery,
    sender::list::SenderQuery,
    template::list::TemplateQuery,
    template::preview::TemplatePreviewQuery,
    team::sub_account_list::SubAccountQuery,
    billing::ledger::LedgerQuery,
    audit_log::list::AuditLogQuery,
    team::TeamQuery,
);

/// Mutations. Each returns a payload with the changed object and a list of errors. If a mutation is
/// refused, nothing is changed, the object is null and the list has the reason. The mutation's own
/// field is null if it failed for another reason; a top-level error then says why.
#[derive(MergedObject, Default)]
pub struct Mutation(
    message::send::MessageMutation,
    message::cancel::ScheduleMutation,
    message::quiet_hours::QuietHoursMutation,
    contact::ContactMutation,
    contact::address::ContactAddressMutation,
    contact::merge::ContactMergeMutation,
    contact::erasure::ContactErasureMutation,
    opt_out::OptOutMutation,
    phone_number::PhoneNumberMutation,
    phone_number::transfer::PhoneNumberTransferMutation,
    sender::SenderMutation,
    template::TemplateMutation,
    team::sub_account::SubAccountMutation,
    api_key::ApiKeyMutation,
    team::TeamMutation,
);

type TollgateSchema = Schema<Query, Audited<Mutation>, Updates>;

/// The whole schema in the schema definition language, including fields that are hidden from some
/// keys.
pub fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new().include_specified_by();
    schema().finish().sdl_with_options(options)
}

fn schema() -> SchemaBuilder<Query, Audited<Mutation>, Updates> {
    Schema::build(Query::default(), Audited(Mutation::default()), Updates).disable_suggestions()
}
