//! Opt-outs: addresses that must not receive an account's messages.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use entity::{audit_entry::AuditAction, opt_out as rows};

use super::{
    access::{self, ContextExt, RoleGuard},
    audit_log::audited,
    connection::{List, list, page_args},
    enums::{Channel, DomainEnum, OptOutSource, values},
    input::all,
    payload::payload,
    scalars::DateTime,
};
use crate::domain::{
    audit_log::refused_call::Target,
    opt_out::{self, self as domain},
};

/// The GraphQL object `OptOut`.
pub struct OptOut(pub rows::Model);

/// An address to which the account must not send messages on one channel. Messages to it are
/// refused and not charged, with LIVE and TEST keys alike.
#[Object]
impl OptOut {
    /// Id of the opt-out.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Channel of the opt-out. Other channels are not affected.
    async fn channel(&self) -> Channel {
        self.0.channel.into()
    }

    /// Address in normalized form: a phone number in E.164 format, an e-mail address, or a Telegram
    /// chat id.
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// How the opt-out was created.
    async fn source(&self) -> OptOutSource {
        self.0.source.into()
    }

    /// Reason for the opt-out: the text that you provided, or the recipient's reply. Null if there
    /// is none.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When the opt-out was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Filter for opt-outs. An opt-out must meet all given conditions.
#[derive(InputObject, Default)]
pub struct OptOutFilter {
    /// Only opt-outs whose address contains this text, ignoring case (maximum 200 characters). A
    /// complete phone number can be written in any format.
    search: Option<String>,
    /// Only opt-outs of these channels.
    channel: Option<Vec<Channel>>,
}

/// Address to opt out.
#[derive(InputObject)]
pub struct AddOptOutInput {
    /// Channel of the opt-out. If omitted, it is SMS for a phone number and EMAIL for an e-mail
    /// address.
    channel: Option<Channel>,
    /// Address to opt out, depending on the channel: a phone number in E.164 format such as
    /// +12025550123, an e-mail address, or a Telegram chat id.
    address: String,
    /// Reason for the opt-out (1 to 500 characters). If omitted, there is none.
    reason: Option<String>,
}

impl From<AddOptOutInput> for domain::NewOptOut {
    fn from(input: AddOptOutInput) -> Self {
        let AddOptOutInput { channel, address, reason } = input;
        Self { channel: channel.map(|channel| channel.0), address, reason }
    }
}

/// Opt-out to remove.
#[derive(InputObject)]
pub struct RemoveOptOutInput {
    /// Channel of the opt-out. If omitted, it is SMS for a phone number and EMAIL for an e-mail
    /// address.
    channel: Option<Channel>,
    /// Address of the opt-out, depending on the channel: a phone number in E.164 format such as
    /// +12025550123, an e-mail address, or a Telegram chat id.
    address: String,
}

payload! {
    /// Result of addOptOut.
    AddOptOutPayload, domain::AddOptOutRefusal, rows::Model as opt_out => {
        /// The new or existing opt-out; null if the mutation was refused.
        opt_out: Option<OptOut> = Some(OptOut(opt_out)),
    }
}

/// Result for one address of importOptOuts. It has the fields of one error instead of a list of
/// errors, so that a response with 1,000 results stays within the limits.
#[derive(SimpleObject)]
pub struct OptOutVerdict {
    /// The new or existing opt-out; null if the address was refused.
    opt_out: Option<OptOut>,
    /// Machine-readable reason for the refusal; null if the address was not refused.
    code: Option<DomainEnum<domain::AddOptOutRefusal>>,
    /// Human-readable explanation of the refusal; null if the address was not refused.
    message: Option<String>,
}

impl From<domain::Imported> for OptOutVerdict {
    fn from(imported: domain::Imported) -> Self {
        match imported {
            Ok(opt_out) => Self { opt_out: Some(OptOut(opt_out)), code: None, message: None },
            Err(refusal) => Self {
                opt_out: None,
                code: Some(refusal.code.into()),
                message: Some(refusal.message.into_owned()),
            },
        }
    }
}

payload! {
    /// Result of removeOptOut.
    RemoveOptOutPayload, domain::RemoveOptOutRefusal, rows::Model as opt_out => {
        /// The opt-out that was removed; null if the mutation was refused.
        opt_out: Option<OptOut> = Some(OptOut(opt_out)),
    }
}

#[derive(Default)]
pub struct OptOutQuery;

#[Object]
impl OptOutQuery {
    /// Opt-outs of your account, newest first. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn opt_outs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the opt-outs. If omitted, all opt-outs are returned.")]
        filter: Option<OptOutFilter>,
    ) -> Result<List<OptOut>> {
        let filter = filter.unwrap_or_default();
        let filter =
            opt_out::list::OptOutFilter { search: filter.search, channel: values(filter.channel) };
        let page = page_args(ctx)?;
        let found = opt_out::list::list(ctx.app()?, &ctx.account()?, &filter, &page).await?;
        Ok(list(found, OptOut))
    }
}

#[derive(Default)]
pub struct OptOutMutation;

#[Object]
impl OptOutMutation {
    /// Opts an address out, so that messages from your account to it are refused. If the address is
    /// already opted out, nothing is changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn add_opt_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Address to opt out.")] input: AddOptOutInput,
    ) -> Result<Option<AddOptOutPayload>> {
        let done = audited(ctx, AuditAction::AddOptOut, Target::Nothing, async {
            domain::add(ctx.app()?, &ctx.live_account()?, input.into()).await
        });
        AddOptOutPayload::of(done.await)
    }

    /// Opts up to 1,000 addresses out and returns one result for each, in the order of the input.
    /// Existing opt-outs are not changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn import_opt_outs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Addresses to opt out (maximum 1,000).")] input: Vec<AddOptOutInput>,
    ) -> Result<Option<Vec<OptOutVerdict>>> {
        let done = audited(ctx, AuditAction::ImportOptOuts, Target::Nothing, async {
            domain::import(ctx.app()?, &ctx.live_account()?, all(input)).await
        });
        Ok(Some(all(done.await?)))
    }

    /// Removes an opt-out of your account, so that messages can be sent to the address again. Use
    /// this only if the recipient has asked for it. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn remove_opt_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Opt-out to remove.")] input: RemoveOptOutInput,
    ) -> Result<Option<RemoveOptOutPayload>> {
        let channel = input.channel.map(|channel| channel.0);
        let done = audited(ctx, AuditAction::RemoveOptOut, Target::Nothing, async {
            domain::remove(ctx.app()?, &ctx.live_account()?, channel, &input.address).await
        });
        RemoveOptOutPayload::of(done.await)
    }
}
