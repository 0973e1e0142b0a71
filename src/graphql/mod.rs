//! The schema: its features merged.

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

/// What can be asked. What a field needs, and what it shows to which key, stands in its
/// description.
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

/// What can be done. Every field answers with a payload: the object, null exactly when refused, and
/// errors. A field is null if it failed otherwise; a top-level error then says why.
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

/// The whole schema in the schema language, hidden fields too.
pub fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new().include_specified_by();
    schema().finish().sdl_with_options(options)
}

fn schema() -> SchemaBuilder<Query, Audited<Mutation>, Updates> {
    Schema::build(Query::default(), Audited(Mutation::default()), Updates).disable_suggestions()
}
