//! The schema: its features merged.

use async_graphql::{MergedObject, Schema, SchemaBuilder};

mod access;
mod account;
mod api;
mod api_key;
mod audit_log;
mod audit_log_list;
mod collect;
mod contact;
mod contact_address;
mod contact_erasure;
mod contact_list;
mod contact_merge;
mod cost;
mod documents;
pub mod errors;
mod field_turns;
mod hidden;
mod introspection;
mod introspection_turns;
mod ledger;
mod loaders;
mod mend;
mod message;
mod message_list;
mod opt_out;
mod page;
mod persisted;
mod phone_number;
mod phone_number_list;
mod phone_number_transfer;
mod quiet_hours;
mod request;
pub mod scalars;
mod schedule;
mod send_message;
mod sender;
mod sender_list;
mod shape;
mod sub_account;
mod sub_account_list;
mod subscription_root;
mod team;
mod template;
mod template_list;
mod template_preview;
mod texts;
mod updates;
mod usage;
mod validation;
mod variables;
mod viewer;

pub use api::Api;
pub use cost::COMPLEXITY_MAX;
pub use documents::Asked;
pub use request::{Answer, EventAnswer, Operation, Prepared};

use audit_log::Audited;
use updates::Updates;

/// What can be asked. What a field needs, and what it shows to which key, stands in its
/// description.
#[derive(MergedObject, Default)]
pub struct Query(
    viewer::ViewerQuery,
    account::AccountQuery,
    send_message::MessageQuery,
    message_list::MessageListQuery,
    contact_list::ContactQuery,
    opt_out::OptOutQuery,
    phone_number_list::PhoneNumberQuery,
    sender_list::SenderQuery,
    template_list::TemplateQuery,
    template_preview::TemplatePreviewQuery,
    sub_account_list::SubAccountQuery,
    ledger::LedgerQuery,
    audit_log_list::AuditLogQuery,
    team::TeamQuery,
);

/// What can be done. Every field answers with a payload: the object, null exactly when refused, and
/// errors. A field is null if it failed otherwise; a top-level error then says why.
#[derive(MergedObject, Default)]
pub struct Mutation(
    send_message::MessageMutation,
    schedule::ScheduleMutation,
    quiet_hours::QuietHoursMutation,
    contact::ContactMutation,
    contact_address::ContactAddressMutation,
    contact_merge::ContactMergeMutation,
    contact_erasure::ContactErasureMutation,
    opt_out::OptOutMutation,
    phone_number::PhoneNumberMutation,
    phone_number_transfer::PhoneNumberTransferMutation,
    sender::SenderMutation,
    template::TemplateMutation,
    sub_account::SubAccountMutation,
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
