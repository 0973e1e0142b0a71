//! Loads rows by id. The ids that a request needs are batched, so that a list needs a fixed number
//! of statements. The ids come from rows that the caller was allowed to read.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use async_graphql::dataloader::Loader;
use entity::{
    account, api_key, contact, contact_address,
    message::{self, Channel},
    phone_number, sender, team, template,
};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::execution::text_size::TextBytes;
use crate::{
    app::App,
    domain::{
        self, Fault,
        billing::usage::{DateRange, Usage, UsageDimension},
        caller::Caller,
        page::{Page, PageArgs},
    },
    limits::memory_budget::Reservation,
};

/// Loads the rows of one request.
pub struct Rows {
    pub app: Arc<App>,
    pub caller: Caller,
    /// The memory reservation of the request.
    pub reservation: Arc<Reservation>,
}

/// Number of times that a batch yields to the other fields of its request. A long list is polled in
/// several turns. If a batch began after the first turn, it would miss the remaining items, and a
/// second statement would be needed.
const TURNS_BEFORE_BATCH: usize = 16;

/// Starts a batch after the request's other fields have had the opportunity to join the batch.
pub fn spawn(batch: BoxFuture<'static, ()>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..TURNS_BEFORE_BATCH {
            tokio::task::yield_now().await;
        }
        batch.await;
    })
}

/// Declares a type of key that contains an id, and how the values for many ids are loaded:
/// `by_id! { KEY => VALUE, |ROWS, IDS| EXPRESSION }`. The expression returns a map from ids to
/// values.
macro_rules! by_id {
    ($(#[$doc:meta])* $key:ident => $value:ty, |$rows:ident, $ids:ident| $loaded:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $key(pub Uuid);

        impl Loader<$key> for Rows {
            type Value = $value;
            type Error = Arc<Fault>;

            async fn load(&self, keys: &[$key]) -> Result<HashMap<$key, $value>, Arc<Fault>> {
                let $rows = self;
                let $ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
                let loaded: HashMap<Uuid, $value> = $loaded;
                Ok(loaded.into_iter().map(|(id, value)| ($key(id), value)).collect())
            }
        }
    };
}

by_id! {
    /// The id of a team.
    TeamId => team::Model,
    |rows, ids| domain::team::find_many(&rows.app, &rows.caller, &ids).await?
}

by_id! {
    /// The id of an account.
    AccountId => Arc<account::Model>,
    |rows, ids| rows.shared(domain::account::find_many(&rows.app, &rows.caller, &ids).await?)?
}

by_id! {
    /// The id of the team whose main account is loaded.
    MainAccountOf => Arc<account::Model>,
    |rows, ids| rows.shared(domain::account::find_main(&rows.app, &rows.caller, &ids).await?)?
}

by_id! {
    /// The id of a message of the caller's account and environment.
    MessageId => Arc<message::Model>,
    |rows, ids| match rows.caller.account() {
        Ok(account) => shared(
            domain::message::list::find_many(&rows.app, &account, &ids, &rows.reservation).await?,
        ),
        Err(_) => HashMap::new(),
    }
}

by_id! {
    /// The id of a contact of the caller's account.
    ContactId => Arc<contact::Model>,
    |rows, ids| match rows.caller.account() {
        Ok(account) => {
            rows.shared(domain::contact::list::find_many(&rows.app, &account, &ids).await?)?
        }
        Err(_) => HashMap::new(),
    }
}

by_id! {
    /// The id of the contact whose addresses are loaded.
    AddressesOf => Vec<contact_address::Model>,
    |rows, ids| {
        let owner = (&rows.caller.account()?).into();
        domain::contact::list::addresses_of(&rows.app, owner, &ids).await?
    }
}

by_id! {
    /// The id of the contact whose tags are loaded.
    TagsOf => Arc<Vec<String>>,
    |rows, ids| {
        let owner = (&rows.caller.account()?).into();
        rows.shared(domain::contact::list::tags_of(&rows.app, owner, &ids).await?)?
    }
}

by_id! {
    /// The id of a phone number of the caller's account.
    PhoneNumberId => phone_number::Model,
    |rows, ids| match rows.caller.account() {
        Ok(account) => domain::phone_number::list::find_many(&rows.app, &account, &ids).await?,
        Err(_) => HashMap::new(),
    }
}

by_id! {
    /// The id of a sender of the caller's account.
    SenderId => sender::Model,
    |rows, ids| match rows.caller.account() {
        Ok(account) => domain::sender::list::find_many(&rows.app, &account, &ids).await?,
        Err(_) => HashMap::new(),
    }
}

by_id! {
    /// The id of the phone number whose sender is loaded.
    SenderOf => sender::Model,
    |rows, ids| match rows.caller.account() {
        Ok(account) => domain::sender::list::find_by_numbers(&rows.app, &account, &ids).await?,
        Err(_) => HashMap::new(),
    }
}

by_id! {
    /// The id of a template of the caller's account.
    TemplateId => Arc<template::Model>,
    |rows, ids| match rows.caller.account() {
        Ok(account) => shared(
            domain::template::list::find_many(&rows.app, &account, &ids, &rows.reservation).await?,
        ),
        Err(_) => HashMap::new(),
    }
}

by_id! {
    /// The id of an API key of the caller's team. Only operators can load operator keys.
    KeyId => api_key::Model,
    |rows, ids| domain::api_key::list::find_many(&rows.app, &rows.caller, &ids).await?
}

/// The key for loading the opt-out of an address from the messages of the caller's account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OptOutOf {
    pub channel: Channel,
    pub address: String,
}

/// The key for loading a page of an account's API keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeysOf {
    pub account_id: Uuid,
    pub page: PageArgs,
}

/// The key for loading the usage of an account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UsageOf {
    pub account_id: Uuid,
    pub range: Option<DateRange>,
    pub group_by: Vec<UsageDimension>,
}

/// An address without an opt-out has no entry in the result.
impl Loader<OptOutOf> for Rows {
    type Value = ();
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[OptOutOf]) -> Result<HashMap<OptOutOf, ()>, Arc<Fault>> {
        let owner = (&self.caller.account()?).into();
        let addresses: Vec<_> = keys.iter().map(|key| (key.channel, key.address.clone())).collect();
        let found = domain::opt_out::list::opted_out_of(&self.app, owner, &addresses).await?;
        Ok(found
            .into_iter()
            .map(|(channel, address)| (OptOutOf { channel, address }, ()))
            .collect())
    }
}

/// Fields with the same arguments share a statement. If arguments are invalid, only the fields with
/// these arguments fail.
impl Loader<KeysOf> for Rows {
    type Value = Result<Page<api_key::Model>, Arc<Fault>>;
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[KeysOf]) -> Result<HashMap<KeysOf, Self::Value>, Arc<Fault>> {
        let main = self.caller.main()?;
        let mut loaded = HashMap::new();
        for (page, accounts) in grouped(keys, |key| (key.page.clone(), key.account_id)) {
            let pages = domain::api_key::list::list_many(&self.app, &main, &accounts, &page).await;
            let key = |account_id| KeysOf { account_id, page: page.clone() };
            loaded.extend(each(pages, &accounts).map(|(id, found)| (key(id), found)));
        }
        Ok(loaded)
    }
}

/// Fields with the same arguments share a statement. If arguments are invalid, only the fields with
/// these arguments fail.
impl Loader<UsageOf> for Rows {
    type Value = Result<Usage, Arc<Fault>>;
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[UsageOf]) -> Result<HashMap<UsageOf, Self::Value>, Arc<Fault>> {
        let mut loaded = HashMap::new();
        let question = |key: &UsageOf| ((key.range, key.group_by.clone()), key.account_id);
        for ((range, group_by), accounts) in grouped(keys, question) {
            let (caller, reservation) = (&self.caller, &self.reservation);
            let found = domain::billing::usage::of_accounts(
                &self.app,
                caller,
                &accounts,
                range,
                &group_by,
                reservation,
            )
            .await;
            let key = |account_id| UsageOf { account_id, range, group_by: group_by.clone() };
            loaded.extend(each(found, &accounts).map(|(id, usage)| (key(id), usage)));
        }
        Ok(loaded)
    }
}

/// Returns the result for each account. It is either the account's own result or the fault of the
/// statement that the accounts share.
fn each<V>(
    answers: Result<HashMap<Uuid, V>, Fault>,
    accounts: &[Uuid],
) -> impl Iterator<Item = (Uuid, Result<V, Arc<Fault>>)> {
    let (answers, fault) = match answers {
        Ok(answers) => (answers, None),
        Err(fault) => (HashMap::new(), Some(Arc::new(fault))),
    };
    let faults: Vec<_> = fault
        .iter()
        .flat_map(|fault| accounts.iter().map(|id| (*id, Err(Arc::clone(fault)))))
        .collect();
    answers.into_iter().map(|(id, answer)| (id, Ok(answer))).chain(faults)
}

impl Rows {
    /// Counts rows against the memory reservation, and returns them as shared rows.
    fn shared<V>(&self, rows: HashMap<Uuid, V>) -> Result<HashMap<Uuid, Arc<V>>, Fault>
    where
        HashMap<Uuid, V>: TextBytes,
    {
        self.reservation.take(rows.bytes())?;
        Ok(shared(rows))
    }
}

/// Returns rows that can be shared. A row is copied only after the copy has been counted against
/// the memory reservation.
fn shared<V>(rows: HashMap<Uuid, V>) -> HashMap<Uuid, Arc<V>> {
    rows.into_iter().map(|(id, row)| (id, Arc::new(row))).collect()
}

/// Groups account ids whose queries are otherwise equal, so that each group needs only one
/// statement.
fn grouped<K, Q: Eq + Hash>(
    keys: &[K],
    question: impl Fn(&K) -> (Q, Uuid),
) -> HashMap<Q, Vec<Uuid>> {
    let mut groups: HashMap<Q, Vec<Uuid>> = HashMap::new();
    for key in keys {
        let (question, account_id) = question(key);
        groups.entry(question).or_default().push(account_id);
    }
    groups
}
