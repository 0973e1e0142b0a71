//! Subscriptions for changes to data that the caller may see.

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

/// The state that a subscription shares with its executor.
#[derive(Default)]
pub struct Listening {
    /// Notified when the subscription has become active.
    pub begun: Notify,
    /// The turn of the event that is being executed. The turn is not stored in the event, because
    /// async-graphql drops the event too early.
    turn: Mutex<Option<Turn>>,
}

impl Listening {
    /// Takes the turn of the event that has been executed.
    pub fn take_turn(&self) -> Option<Turn> {
        self.turn().take()
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes events to async-graphql one at a time. Each event is executed in its turn.
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

/// Subscriptions over WebSocket. An event contains the data as it is when the event is sent.
/// Changes in quick succession are combined into one event. After a connection problem on the
/// server, an event can be repeated. Query the current state after subscribing.
#[Subscription(name = "Subscription", visible = "access::account")]
impl Updates {
    /// Emits a message of your account in the environment of your key whenever it is accepted or
    /// its status changes. After a connection problem on the server, only the account's 1,000
    /// newest messages are checked for missed changes. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Only events of the message with this id. If your account has no such message, \
                    no events are sent. If omitted, events of all messages are sent."
        )]
        id: Option<ID>,
    ) -> Result<impl Stream<Item = Message> + use<>> {
        let (app, caller) = (Arc::new(ctx.app()?.beyond_request()), ctx.account()?);
        // No message has the nil id, so a subscription with a malformed id gets no events.
        let only = id.map(|id| parse_id(&id).unwrap_or_default());
        show(ctx, subscriptions::messages(app, caller, only), Message)
    }

    /// Emits the balance of your team and the spending of your account whenever they change.
    /// Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn balance_changed(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Balance> + use<>> {
        let (app, caller) = (Arc::new(ctx.app()?.beyond_request()), ctx.account()?);
        show(ctx, subscriptions::balances(app, caller).await?, Balance::from)
    }

    /// Emits a sub-account of the team whenever it is created or its settings, status or totalSpent
    /// change. Requires a key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn account_updated(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Account> + use<>> {
        let (app, main) = (Arc::new(ctx.app()?.beyond_request()), ctx.caller()?.main()?);
        show(ctx, subscriptions::sub_accounts(app, main), Account)
    }
}
