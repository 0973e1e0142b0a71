//! Deleting a contact, which erases the person.

use async_graphql::{Context, ID, Object, Result};
use entity::audit_entry::AuditAction;

use crate::{
    domain::{audit_log::refused_call::Target, contact::erasure as domain},
    graphql::{
        access::{self, ContextExt},
        audit_log::audited,
        input::parse_id,
        payload::payload,
    },
};

payload! {
    /// The answer to deleteContact.
    DeleteContactPayload, domain::DeleteContactRefusal, domain::Erased as erased => {
        /// The id of the contact that was deleted; null if refused.
        contact_id: Option<ID> = Some(erased.contact_id.into()),
        /// How many messages lost their recipient and text; null if refused.
        messages_erased: Option<i32> = Some(i32::try_from(erased.messages).unwrap_or(i32::MAX)),
    }
}

#[derive(Default)]
pub struct ContactErasureMutation;

#[Object]
impl ContactErasureMutation {
    /// Deletes a contact and erases the person, for good. The contact and its addresses go. Every
    /// message of the account to one of these addresses, or sent to the contact, LIVE or TEST,
    /// loses its recipient, contact, subject, text, HTML and errorMessage, which are null from then
    /// on; its status, cost and country stay, and so do the metadata and the idempotencyKey that
    /// you gave it. An opt-out of an address stays, for it protects the person. Refused while a
    /// message to the contact waits to be handed over. A deletion that broke off is finished by a repeat;
    /// until then nothing is sent to the contact, and it is not changed. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn delete_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact's id.")] id: ID,
    ) -> Result<Option<DeleteContactPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::DeleteContact, Target::Id(id), async {
            domain::delete(ctx.app()?, &ctx.live_account()?, id).await
        });
        DeleteContactPayload::of(done.await)
    }
}
