//! Rows by id, batched over one request, so that a list needs a fixed number of statements. The ids
//! come from rows that the caller was allowed to read.

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

use super::execution::text_size::TextBytes as _;
use crate::{
    app::App,
    domain::{
        self, Fault,
        api_key::list as api_key_list,
        billing::usage::{DateRange, Usage, UsageDimension},
        caller::Caller,
        contact::list as contact_list,
        message::list as message_list,
        opt_out,
        page::{Page, PageArgs},
        phone_number::list as phone_number_list,
        sender::list as sender_list,
        template::list as template_list,
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

/// How often a batch yields to the other fields of its request. A long list is polled in several
/// turns, so a batch that began after the first would miss the rest and need a second statement.
const TURNS_BEFORE_BATCH: usize = 16;

/// Starts a batch after the request's other fields had the opportunity to join it.
pub fn spawn(batch: BoxFuture<'static, ()>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..TURNS_BEFORE_BATCH {
            tokio::task::yield_now().await;
        }
        batch.await;
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TeamId(pub Uuid);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(pub Uuid);

/// The main account of a team.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MainAccountOf(pub Uuid);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub Uuid);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContactId(pub Uuid);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhoneNumberId(pub Uuid);

/// The addresses of a contact.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressesOf(pub Uuid);

/// The opt-out of an address from the messages of the caller's account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OptOutOf {
    pub channel: Channel,
    pub address: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TemplateId(pub Uuid);

/// The tags of a contact.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagsOf(pub Uuid);

/// A sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenderId(pub Uuid);

/// The sender that uses a phone number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenderOf(pub Uuid);

/// A key in an audit entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub Uuid);

/// A page of an account's keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeysOf {
    pub account_id: Uuid,
    pub page: PageArgs,
}

/// The usage of an account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UsageOf {
    pub account_id: Uuid,
    pub range: Option<DateRange>,
    pub group_by: Vec<UsageDimension>,
}

impl Loader<TeamId> for Rows {
    type Value = team::Model;
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[TeamId]) -> Result<HashMap<TeamId, team::Model>, Arc<Fault>> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(domain::team::find_many(&self.app, &self.caller, &ids).await?, TeamId))
    }
}

impl Loader<AccountId> for Rows {
    type Value = Arc<account::Model>;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[AccountId],
    ) -> Result<HashMap<AccountId, Arc<account::Model>>, Arc<Fault>> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let found = domain::account::find_many(&self.app, &self.caller, &ids).await?;
        self.reservation.take(found.bytes())?;
        Ok(shared(found, AccountId))
    }
}

impl Loader<MainAccountOf> for Rows {
    type Value = Arc<account::Model>;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[MainAccountOf],
    ) -> Result<HashMap<MainAccountOf, Arc<account::Model>>, Arc<Fault>> {
        let teams: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let found = domain::account::find_main(&self.app, &self.caller, &teams).await?;
        self.reservation.take(found.bytes())?;
        Ok(shared(found, MainAccountOf))
    }
}

/// Limited to messages of the caller's account and environment.
impl Loader<MessageId> for Rows {
    type Value = Arc<message::Model>;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[MessageId],
    ) -> Result<HashMap<MessageId, Arc<message::Model>>, Arc<Fault>> {
        let Ok(account) = self.caller.account() else {
            return Ok(HashMap::new());
        };
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(shared(
            message_list::find_many(&self.app, &account, &ids, &self.reservation).await?,
            MessageId,
        ))
    }
}

/// Limited to contacts of the caller's account.
impl Loader<ContactId> for Rows {
    type Value = Arc<contact::Model>;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[ContactId],
    ) -> Result<HashMap<ContactId, Arc<contact::Model>>, Arc<Fault>> {
        let Ok(account) = self.caller.account() else {
            return Ok(HashMap::new());
        };
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let found = contact_list::find_many(&self.app, &account, &ids).await?;
        self.reservation.take(found.bytes())?;
        Ok(shared(found, ContactId))
    }
}

/// Limited to phone numbers of the caller's account.
impl Loader<PhoneNumberId> for Rows {
    type Value = phone_number::Model;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[PhoneNumberId],
    ) -> Result<HashMap<PhoneNumberId, phone_number::Model>, Arc<Fault>> {
        let Ok(account) = self.caller.account() else {
            return Ok(HashMap::new());
        };
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(phone_number_list::find_many(&self.app, &account, &ids).await?, PhoneNumberId))
    }
}

impl Loader<AddressesOf> for Rows {
    type Value = Vec<contact_address::Model>;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[AddressesOf],
    ) -> Result<HashMap<AddressesOf, Vec<contact_address::Model>>, Arc<Fault>> {
        let owner = (&self.caller.account()?).into();
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(contact_list::addresses_of(&self.app, owner, &ids).await?, AddressesOf))
    }
}

/// An address without an opt-out has no entry in the result.
impl Loader<OptOutOf> for Rows {
    type Value = ();
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[OptOutOf]) -> Result<HashMap<OptOutOf, ()>, Arc<Fault>> {
        let owner = (&self.caller.account()?).into();
        let addresses: Vec<_> = keys.iter().map(|key| (key.channel, key.address.clone())).collect();
        let found = opt_out::list::opted_out_of(&self.app, owner, &addresses).await?;
        Ok(found
            .into_iter()
            .map(|(channel, address)| (OptOutOf { channel, address }, ()))
            .collect())
    }
}

/// Limited to templates of the caller's account.
impl Loader<TemplateId> for Rows {
    type Value = Arc<template::Model>;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[TemplateId],
    ) -> Result<HashMap<TemplateId, Arc<template::Model>>, Arc<Fault>> {
        let Ok(account) = self.caller.account() else {
            return Ok(HashMap::new());
        };
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let found = template_list::find_many(&self.app, &account, &ids, &self.reservation).await?;
        Ok(shared(found, TemplateId))
    }
}

impl Loader<TagsOf> for Rows {
    type Value = Arc<Vec<String>>;
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[TagsOf]) -> Result<HashMap<TagsOf, Arc<Vec<String>>>, Arc<Fault>> {
        let owner = (&self.caller.account()?).into();
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let found = contact_list::tags_of(&self.app, owner, &ids).await?;
        self.reservation.take(found.bytes())?;
        Ok(shared(found, TagsOf))
    }
}

/// Limited to senders of the caller's account.
impl Loader<SenderId> for Rows {
    type Value = sender::Model;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[SenderId],
    ) -> Result<HashMap<SenderId, sender::Model>, Arc<Fault>> {
        let Ok(account) = self.caller.account() else {
            return Ok(HashMap::new());
        };
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(sender_list::find_many(&self.app, &account, &ids).await?, SenderId))
    }
}

impl Loader<SenderOf> for Rows {
    type Value = sender::Model;
    type Error = Arc<Fault>;

    async fn load(
        &self,
        keys: &[SenderOf],
    ) -> Result<HashMap<SenderOf, sender::Model>, Arc<Fault>> {
        let Ok(account) = self.caller.account() else {
            return Ok(HashMap::new());
        };
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(sender_list::find_by_numbers(&self.app, &account, &ids).await?, SenderOf))
    }
}

/// Limited to keys of the caller's team. Only operators find operator keys.
impl Loader<KeyId> for Rows {
    type Value = api_key::Model;
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[KeyId]) -> Result<HashMap<KeyId, api_key::Model>, Arc<Fault>> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        Ok(keyed(api_key_list::find_many(&self.app, &self.caller, &ids).await?, KeyId))
    }
}

/// Fields with the same arguments share a statement. Invalid arguments fail only the fields that
/// have them.
impl Loader<KeysOf> for Rows {
    type Value = Result<Page<api_key::Model>, Arc<Fault>>;
    type Error = Arc<Fault>;

    async fn load(&self, keys: &[KeysOf]) -> Result<HashMap<KeysOf, Self::Value>, Arc<Fault>> {
        let main = self.caller.main()?;
        let mut loaded = HashMap::new();
        for (page, accounts) in grouped(keys, |key| (key.page.clone(), key.account_id)) {
            let pages = api_key_list::list_many(&self.app, &main, &accounts, &page).await;
            let key = |account_id| KeysOf { account_id, page: page.clone() };
            loaded.extend(each(pages, &accounts).map(|(id, found)| (key(id), found)));
        }
        Ok(loaded)
    }
}

/// Fields with the same arguments share a statement. Invalid arguments fail only the fields that
/// have them.
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

/// The result for each account: its own, or the fault of the statement that they share.
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

fn keyed<K: Eq + Hash, V>(rows: HashMap<Uuid, V>, key: fn(Uuid) -> K) -> HashMap<K, V> {
    rows.into_iter().map(|(id, row)| (key(id), row)).collect()
}

/// The same, with rows that are copied only after the copy was counted against the memory
/// reservation.
fn shared<K: Eq + Hash, V>(rows: HashMap<Uuid, V>, key: fn(Uuid) -> K) -> HashMap<K, Arc<V>> {
    rows.into_iter().map(|(id, row)| (key(id), Arc::new(row))).collect()
}

/// Groups account ids by the rest of the query, so that each group needs one statement.
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
