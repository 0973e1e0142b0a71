//! Opt-outs: addresses that want nothing more from the account. Any LIVE key of an account changes its own.

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

/// GraphQL's `OptOut`, described there.
pub struct OptOut(pub rows::Model);

/// An address that wants nothing more from the account by a channel. It counts for LIVE and TEST
/// keys alike: a message to it is refused before anything is charged.
#[Object]
impl OptOut {
    /// The opt-out's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The channel that it is of. Other channels are not concerned.
    async fn channel(&self) -> Channel {
        self.0.channel.into()
    }

    /// The address in normal form: a phone number in E.164, an e-mail address, or a chat id.
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// How it came about.
    async fn source(&self) -> OptOutSource {
        self.0.source.into()
    }

    /// Why, in words: yours, or what the person wrote. Null if nobody said.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it was added.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Which opt-outs to list: those that fit every part that is given.
#[derive(InputObject, Default)]
pub struct OptOutFilter {
    /// Those whose address holds this text, in upper or lower case; at most 200 characters. A whole
    /// phone number may be written in any form.
    search: Option<String>,
    /// Those of one of these channels.
    channel: Option<Vec<Channel>>,
}

/// An address to be opted out.
#[derive(InputObject)]
pub struct AddOptOutInput {
    /// Left out: SMS for a phone number, EMAIL for an e-mail address.
    channel: Option<Channel>,
    /// A phone number in E.164 such as +12025550123, an e-mail address, or a Telegram chat id, by
    /// channel.
    address: String,
    /// 1 to 500 characters; none if left out.
    reason: Option<String>,
}

impl From<AddOptOutInput> for domain::NewOptOut {
    fn from(input: AddOptOutInput) -> Self {
        let AddOptOutInput { channel, address, reason } = input;
        Self { channel: channel.map(|channel| channel.0), address, reason }
    }
}

/// An address that may be sent to again.
#[derive(InputObject)]
pub struct RemoveOptOutInput {
    /// Left out: SMS for a phone number, EMAIL for an e-mail address.
    channel: Option<Channel>,
    /// A phone number in E.164 such as +12025550123, an e-mail address, or a Telegram chat id, by
    /// channel.
    address: String,
}

payload! {
    /// The answer to addOptOut.
    AddOptOutPayload, domain::AddOptOutRefusal, rows::Model as opt_out => {
        /// The opt-out as it is now; null if refused.
        opt_out: Option<OptOut> = Some(OptOut(opt_out)),
    }
}

/// What became of one part of importOptOuts. It is flat, so that an answer to 1,000 of them, with
/// up to four fields each, is not too large.
#[derive(SimpleObject)]
pub struct OptOutVerdict {
    /// The opt-out as it is now; null if refused.
    opt_out: Option<OptOut>,
    /// Why it was refused, for programs; null if it was done.
    code: Option<DomainEnum<domain::AddOptOutRefusal>>,
    /// Why it was refused, for people; null if it was done.
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
    /// The answer to removeOptOut.
    RemoveOptOutPayload, domain::RemoveOptOutRefusal, rows::Model as opt_out => {
        /// The opt-out that was removed; null if refused.
        opt_out: Option<OptOut> = Some(OptOut(opt_out)),
    }
}

#[derive(Default)]
pub struct OptOutQuery;

#[Object]
impl OptOutQuery {
    /// The opt-outs of the account of the key in use, newest first.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn opt_outs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<OptOutFilter>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<OptOut>> {
        let filter = filter.unwrap_or_default();
        let filter =
            opt_out::list::OptOutFilter { search: filter.search, channel: values(filter.channel) };
        let page = page_args(ctx, first, after, last, before)?;
        let found = opt_out::list::list(ctx.app()?, &ctx.account()?, &filter, &page).await?;
        Ok(list(found, OptOut))
    }
}

#[derive(Default)]
pub struct OptOutMutation;

#[Object]
impl OptOutMutation {
    /// Opts an address out: whatever the account of the key in use sends to it from now on is
    /// refused. One that is opted out already stays as it is. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn add_opt_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address to be opted out.")] input: AddOptOutInput,
    ) -> Result<Option<AddOptOutPayload>> {
        let done = audited(ctx, AuditAction::AddOptOut, Target::Nothing, async {
            domain::add(ctx.app()?, &ctx.live_account()?, input.into()).await
        });
        AddOptOutPayload::of(done.await)
    }

    /// Opts up to 1,000 addresses out, each with its own verdict, in order. Those that are opted
    /// out already stay as they are. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn import_opt_outs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The addresses to be opted out, at most 1,000.")] input: Vec<
            AddOptOutInput,
        >,
    ) -> Result<Option<Vec<OptOutVerdict>>> {
        let done = audited(ctx, AuditAction::ImportOptOuts, Target::Nothing, async {
            domain::import(ctx.app()?, &ctx.live_account()?, all(input)).await
        });
        Ok(Some(all(done.await?)))
    }

    /// Removes an opt-out of the account of the key in use: the address may be sent to again. Only
    /// do this when the person asked for it. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn remove_opt_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address that may be sent to again.")] input: RemoveOptOutInput,
    ) -> Result<Option<RemoveOptOutPayload>> {
        let channel = input.channel.map(|channel| channel.0);
        let done = audited(ctx, AuditAction::RemoveOptOut, Target::Nothing, async {
            domain::remove(ctx.app()?, &ctx.live_account()?, channel, &input.address).await
        });
        RemoveOptOutPayload::of(done.await)
    }
}
