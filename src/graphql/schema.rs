//! The schema. It is merged from the parts that each feature defines.

use std::borrow::Cow;

use async_graphql::{
    ContainerType, Context, ContextSelectionSet, MergedObject, ObjectType, OutputType, Positioned,
    SDLExportOptions, Schema, SchemaBuilder, ServerResult, Value, parser::types::Field,
    registry::Registry, resolver_utils::resolve_container,
};

use super::{
    account, api_key,
    audit_log::{self, Audited},
    billing,
    connection::add_page_args,
    contact, message, opt_out, phone_number, sender,
    subscriptions::Updates,
    team, template, viewer,
};

/// Queries. In all descriptions, your key is the API key of the request, and your account is the
/// account that the API key belongs to. The description of a field says which key it requires; if
/// it does not, the field accepts any valid key.
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
/// refused, nothing is changed, the object is null and the list contains the reason. If a mutation
/// fails for another reason, its own field is null and a top-level error describes the failure.
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

/// The root of all queries. It adds the page arguments to the fields that return connections.
#[derive(Default)]
pub struct Paged<Q>(Q);

impl<Q: ObjectType> ContainerType for Paged<Q> {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        self.0.resolve_field(ctx).await
    }
}

impl<Q: ObjectType> OutputType for Paged<Q> {
    fn type_name() -> Cow<'static, str> {
        Q::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        let name = Q::create_type_info(registry);
        add_page_args(registry);
        name
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        _field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        resolve_container(ctx, self).await
    }
}

impl<Q: ObjectType> ObjectType for Paged<Q> {}

pub type TollgateSchema = Schema<Paged<Query>, Audited<Mutation>, Updates>;

/// Returns the whole schema in the schema definition language, including hidden fields.
pub fn sdl() -> String {
    let options = SDLExportOptions::new().include_specified_by();
    schema().finish().sdl_with_options(options)
}

/// Returns a builder for the executable schema.
pub fn schema() -> SchemaBuilder<Paged<Query>, Audited<Mutation>, Updates> {
    Schema::build(Paged::default(), Audited(Mutation::default()), Updates).disable_suggestions()
}
