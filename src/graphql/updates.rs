//! Subscriptions: what changes, as the key in use may see it.

use std::sync::Arc;

use async_graphql::{Context, ID, Result, Subscription};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Notify;

use super::{
    access::{self, Ask, Needs},
    account::{Account, Balance},
    message::Message,
    sub_account::parse_id,
};
use crate::domain::updates;

#[derive(Default)]
pub struct Updates;

/// Woken when a subscription listens.
pub struct Listening(pub Arc<Notify>);

fn listening(ctx: &Context<'_>) -> Result<()> {
    ctx.data::<Listening>()?.0.notify_one();
    Ok(())
}

/// What can be listened to, over WebSocket. An event shows what is there when it is sent: changes
/// that follow each other quickly are told as one, and after a disturbance a change may be told
/// twice. Ask for the present state once you listen.
#[Subscription(name = "Subscription")]
impl Updates {
    /// The messages of the account and environment of the key in use, whenever one is accepted or
    /// its status changes. After a disturbance only the account's newest 1,000 messages are looked
    /// at for changes.
    #[graphql(guard = "Needs::Account", visible = "access::account")]
    async fn message_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this message. An id that is not one of yours is never told of.")]
        id: Option<ID>,
    ) -> Result<impl Stream<Item = Message> + use<>> {
        let (app, caller) = (Arc::new(ctx.app()?.beyond_request()), ctx.account()?);
        // A malformed id is one that nobody has: it is never told of.
        let only = id.map(|id| parse_id(&id).unwrap_or_default());
        let room = Arc::clone(ctx.room()?);
        let messages = updates::messages(app, caller, only).map(move |message| {
            room.renew();
            Message(message)
        });
        listening(ctx)?;
        Ok(messages)
    }

    /// What the money looks like from the key in use, whenever that has changed.
    #[graphql(guard = "Needs::Account", visible = "access::account")]
    async fn balance_changed(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Balance> + use<>> {
        let (app, caller) = (Arc::clone(ctx.app()?), ctx.account()?);
        let balances = updates::balances(app, caller).await?.map(Balance::from);
        listening(ctx)?;
        Ok(balances)
    }

    /// The team's sub-accounts, whenever one is made, or its settings, status or totalSpent change.
    /// Main-account keys only.
    #[graphql(guard = "Needs::Main", visible = "access::main")]
    async fn account_updated(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Account> + use<>> {
        let (app, main) = (Arc::new(ctx.app()?.beyond_request()), ctx.caller()?.main()?);
        let room = Arc::clone(ctx.room()?);
        let accounts = updates::sub_accounts(app, main).map(move |account| {
            room.renew();
            Account(account)
        });
        listening(ctx)?;
        Ok(accounts)
    }
}
