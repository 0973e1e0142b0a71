//! Subscriptions: what changes, as the key in use may see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::{Context, ID, Result, Subscription};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Notify;

use super::{
    access::{self, ContextExt, RoleGuard},
    account::{Account, Balance},
    input::parse_id,
    message::Message,
};
use crate::domain::{
    events::Turn,
    subscriptions::{self, Update},
};

#[derive(Default)]
pub struct Updates;

/// What a subscription and its executor share.
#[derive(Default)]
pub struct Listening {
    /// Notified when the subscription listens.
    pub begun: Notify,
    /// The turn of the event that is executed. The library drops an event too early to carry it.
    turn: Mutex<Option<Turn>>,
}

impl Listening {
    /// Takes the turn of the event that was executed.
    pub fn take_turn(&self) -> Option<Turn> {
        self.turn().take()
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows events to the library, one at a time, each in its turn.
fn show<T, O, S: Stream<Item = Update<T>>>(
    ctx: &Context<'_>,
    events: S,
    show: fn(T) -> O,
) -> Result<impl Stream<Item = O> + use<T, O, S>> {
    let listening = Arc::clone(ctx.data::<Arc<Listening>>()?);
    listening.begun.notify_one();
    Ok(events.map(move |Update { row, turn }| {
        *listening.turn() = Some(turn);
        show(row)
    }))
}

/// What can be listened to, over WebSocket. An event shows what is there when it is sent: changes
/// that follow each other quickly are told as one, and after a disturbance a change may be told
/// twice. Ask for the present state once you listen.
#[Subscription(name = "Subscription", visible = "access::account")]
impl Updates {
    /// The messages of the account and environment of the key in use, whenever one is accepted or
    /// its status changes. After a disturbance only the account's newest 1,000 messages are looked
    /// at for changes.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this message. An id that is not one of yours is never told of.")]
        id: Option<ID>,
    ) -> Result<impl Stream<Item = Message> + use<>> {
        let (app, caller) = (Arc::new(ctx.app()?.beyond_request()), ctx.account()?);
        // A malformed id is one that nobody has: it is never told of.
        let only = id.map(|id| parse_id(&id).unwrap_or_default());
        show(ctx, subscriptions::messages(app, caller, only), Message)
    }

    /// What the money looks like from the key in use, whenever that has changed.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn balance_changed(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Balance> + use<>> {
        let (app, caller) = (Arc::new(ctx.app()?.beyond_request()), ctx.account()?);
        show(ctx, subscriptions::balances(app, caller).await?, Balance::from)
    }

    /// The team's sub-accounts, whenever one is made, or its settings, status or totalSpent change.
    /// Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn account_updated(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Account> + use<>> {
        let (app, main) = (Arc::new(ctx.app()?.beyond_request()), ctx.caller()?.main()?);
        show(ctx, subscriptions::sub_accounts(app, main), Account)
    }
}
