//! Reads contacts. A key sees only the contacts of its own account.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use entity::{contact, contact_address, contact_tag, message::Channel};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Alias, Expr, ExprTrait, Query},
};
use uuid::Uuid;

use super::tag::TAGS_PER_CONTACT_MAX;
use crate::{
    app::App,
    db::has_id,
    domain::{
        Fault,
        account::AccountIds,
        bad_input,
        caller::AccountCaller,
        channel::recipient,
        list::{List, is_one_of},
        page::{Page, PageArgs},
        search,
        validate::{LABEL_CHARS_MAX, is_within, may_be_stored},
    },
    time_zone::TimeZone,
};

#[derive(Clone, Debug, Default)]
pub struct ContactFilter {
    /// Part of the name or of an address, ignoring case, or an address in any form that `sendMessage` accepts.
    pub search: Option<String>,
    /// The contact has all of these tags.
    pub tags: Option<Vec<String>>,
    /// The contact has an address of one of these channels.
    pub channel: Option<Vec<Channel>>,
}

/// Returns one page of the caller's contacts, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    filter: &ContactFilter,
    page: &PageArgs,
) -> Result<Page<contact::Model>, Fault> {
    list_of(app, caller.into(), filter, page).await
}

/// Returns one page of the account's contacts, newest first.
pub(in crate::domain) async fn list_of(
    app: &App,
    owner: AccountIds,
    filter: &ContactFilter,
    page: &PageArgs,
) -> Result<Page<contact::Model>, Fault> {
    let keyset = page.keyset("contacts")?;
    let tags = tags(filter)?;
    let rows = match tags.first() {
        Some(tag) => tagged(owner.account_id, tag),
        None => contact::Entity::owned_by(owner.account_id),
    };
    let mut list = List::newest_first(rows, contact::Column::Id, |row| row.id);
    if !tags.is_empty() {
        list = list.by_id_in(contact_tag::Column::ContactId);
    }
    let other_tags = tags.get(1..).unwrap_or_default();
    list = list.filtered(condition(app.db.backend(), owner.account_id, filter, other_tags)?);
    if filter.search.is_some() || !other_tags.is_empty() {
        list = list.with_slow_filter();
    }
    list.page(&app.read_as(owner), keyset).await
}

/// Returns the tags of the filter without duplicates.
fn tags(filter: &ContactFilter) -> Result<Vec<&str>, Fault> {
    let tags = filter.tags.as_deref().unwrap_or_default();
    if tags.len() > TAGS_PER_CONTACT_MAX {
        return Err(bad_input("A filter must have at most 50 tags."));
    }
    let mut distinct: Vec<&str> = Vec::with_capacity(tags.len());
    for tag in tags.iter().map(|tag| tag.trim()) {
        if !distinct.contains(&tag) {
            distinct.push(tag);
        }
    }
    Ok(distinct)
}

/// Returns whether the tag is valid. An invalid tag matches no contact.
fn may_be_tag(tag: &str) -> bool {
    is_within(tag, LABEL_CHARS_MAX) && may_be_stored(tag)
}

/// Selects the contacts of an account that have a tag, in the order of the index on tags.
fn tagged(account_id: Uuid, tag: &str) -> Select<contact::Entity> {
    let mut rows = contact::Entity::owned_by(account_id);
    let (account, contact) = (contact_tag::Column::AccountId, contact_tag::Column::ContactId);
    let is_same = Expr::col((contact_tag::Entity, contact))
        .equals((contact::Entity, contact::Column::Id))
        .and(
            Expr::col((contact_tag::Entity, account))
                .equals((contact::Entity, contact::Column::AccountId)),
        );
    QuerySelect::query(&mut rows).inner_join(contact_tag::Entity, is_same);
    if !may_be_tag(tag) {
        return rows.filter(Expr::cust("1 = 0"));
    }
    rows.filter(contact_tag::Column::AccountId.eq(account_id))
        .filter(contact_tag::Column::Tag.eq(tag))
}

/// Returns the remaining conditions of the filter and the condition that the contact has these tags. The subqueries
/// have an OFFSET. Otherwise PostgreSQL would not evaluate them for each contact, but turn them into a join over all
/// rows of the account.
fn condition(
    backend: DbBackend,
    account_id: Uuid,
    filter: &ContactFilter,
    tags: &[&str],
) -> Result<Condition, Fault> {
    let mut all = Condition::all();
    if let Some(text) = &filter.search {
        let searched = || Expr::col(contact::Column::SearchText);
        let holds = |text: &str| search::holds(backend, searched(), text);
        let mut any = Condition::any().add(holds(text)?);
        if let Ok(recipient) = recipient::parse(text, None) {
            any = any.add(search::holds_short(backend, searched(), &recipient.address));
        }
        all = all.add(any);
    }
    for tag in tags {
        if !may_be_tag(tag) {
            return Ok(Condition::all().add(Expr::cust("1 = 0")));
        }
        // This subquery uses the primary key of the table of tags.
        let also = Alias::new("also");
        let tagged = Query::select()
            .expr(Expr::value(1))
            .from_as(contact_tag::Entity, also.clone())
            .and_where(Expr::col((also.clone(), contact_tag::Column::AccountId)).eq(account_id))
            .and_where(
                Expr::col((also.clone(), contact_tag::Column::ContactId))
                    .equals((contact::Entity, contact::Column::Id)),
            )
            .and_where(Expr::col((also, contact_tag::Column::Tag)).eq(*tag))
            .limit(1)
            .offset(0)
            .to_owned();
        all = all.add(Expr::exists(tagged));
    }
    if let Some(channel) = &filter.channel {
        let reached = Query::select()
            .expr(Expr::value(1))
            .from(contact_address::Entity)
            .and_where(contact_address::Column::AccountId.eq(account_id))
            .and_where(
                Expr::col((contact_address::Entity, contact_address::Column::ContactId))
                    .equals((contact::Entity, contact::Column::Id)),
            )
            .and_where(is_one_of(contact_address::Column::Channel, channel))
            .limit(1)
            .offset(0)
            .to_owned();
        all = all.add(Expr::exists(reached));
    }
    Ok(all)
}

/// Returns the caller's contacts with these ids.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, contact::Model>, Fault> {
    let rows = contact::Entity::owned_by(caller.account_id)
        .filter(contact::Column::Id.is_in(ids.iter().copied()))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Returns the addresses of each of these contacts, ordered by channel. On each channel, the primary address is first,
/// followed by the others, oldest first.
pub async fn addresses_of(
    app: &App,
    owner: AccountIds,
    contacts: &[Uuid],
) -> Result<HashMap<Uuid, Vec<contact_address::Model>>, Fault> {
    let mut rows = contact_address::Entity::owned_by(owner.account_id)
        .filter(contact_address::Column::ContactId.is_in(contacts.iter().copied()))
        .order_by_asc(contact_address::Column::Id)
        .all(&app.read_as(owner))
        .await?;
    rows.sort_by_key(|row| (row.channel, !row.is_primary));
    let mut by_contact: HashMap<Uuid, Vec<contact_address::Model>> = HashMap::new();
    for row in rows {
        by_contact.entry(row.contact_id).or_default().push(row);
    }
    Ok(by_contact)
}

/// Returns the primary addresses of each of these contacts by channel. Every contact has at least one primary address.
pub async fn primary_addresses_of(
    app: &App,
    owner: AccountIds,
    contacts: &[Uuid],
) -> Result<HashMap<Uuid, BTreeMap<Channel, String>>, Fault> {
    let rows: Vec<(Uuid, Channel, String)> = contact_address::Entity::owned_by(owner.account_id)
        .select_only()
        .columns([
            contact_address::Column::ContactId,
            contact_address::Column::Channel,
            contact_address::Column::Address,
        ])
        .filter(contact_address::Column::ContactId.is_in(contacts.iter().copied()))
        .filter(contact_address::Column::IsPrimary.eq(true))
        .into_tuple()
        .all(&app.read_as(owner))
        .await?;
    let mut by_contact: HashMap<Uuid, BTreeMap<Channel, String>> = HashMap::new();
    for (contact_id, channel, address) in rows {
        by_contact.entry(contact_id).or_default().insert(channel, address);
    }
    Ok(by_contact)
}

/// Returns the tags of each of these contacts, sorted.
pub async fn tags_of(
    app: &App,
    owner: AccountIds,
    contacts: &[Uuid],
) -> Result<HashMap<Uuid, Vec<String>>, Fault> {
    let rows: Vec<(Uuid, String)> = contact_tag::Entity::owned_by(owner.account_id)
        .select_only()
        .columns([contact_tag::Column::ContactId, contact_tag::Column::Tag])
        .filter(contact_tag::Column::ContactId.is_in(contacts.iter().copied()))
        .into_tuple()
        .all(&app.read_as(owner))
        .await?;
    let mut by_contact: HashMap<Uuid, Vec<String>> = HashMap::new();
    for (contact_id, tag) in rows {
        by_contact.entry(contact_id).or_default().push(tag);
    }
    // The database does not sort the tags, because the order would depend on its collation.
    for tags in by_contact.values_mut() {
        tags.sort_unstable();
    }
    Ok(by_contact)
}

/// Returns the time zones of the contacts that have these addresses. Contacts without a time zone are left out.
pub(in crate::domain) async fn time_zones_of<C: ConnectionTrait>(
    db: &C,
    keys: impl Iterator<Item = (Uuid, Channel, String)>,
) -> Result<HashMap<(Uuid, Channel, String), TimeZone>, Fault> {
    let keys: BTreeSet<(Uuid, Channel, String)> = keys.collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let accounts: BTreeSet<Uuid> = keys.iter().map(|(account, ..)| *account).collect();
    let channels: BTreeSet<Channel> = keys.iter().map(|(_, channel, _)| *channel).collect();
    let addresses: BTreeSet<&str> = keys.iter().map(|(.., address)| address.as_str()).collect();
    // For one account, this may also find an address that was requested only for another account. This does no harm,
    // because the result is keyed by account.
    let addresses = contact_address::Entity::find()
        .filter(contact_address::Column::AccountId.is_in(accounts))
        .filter(contact_address::Column::Channel.is_in(channels))
        .filter(contact_address::Column::Address.is_in(addresses))
        .all(db)
        .await?;
    let contacts: BTreeSet<Uuid> = addresses.iter().map(|row| row.contact_id).collect();
    let contacts: HashMap<Uuid, TimeZone> = contact::Entity::find()
        .filter(has_id(db.get_database_backend(), contacts))
        .filter(contact::Column::TimeZone.is_not_null())
        .all(db)
        .await?
        .into_iter()
        .filter_map(|row| Some((row.id, TimeZone::named(&row.time_zone?)?)))
        .collect();
    Ok(addresses
        .into_iter()
        .filter_map(|row| {
            let zone = contacts.get(&row.contact_id)?.clone();
            Some(((row.account_id, row.channel, row.address), zone))
        })
        .collect())
}
