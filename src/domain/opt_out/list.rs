//! Reads opt-outs. A key sees only the opt-outs of its own account.

use std::collections::HashSet;

use entity::{
    message::Channel,
    opt_out::{self, Column, Entity},
};
use sea_orm::{
    ColumnTrait, Condition, Iterable, QueryFilter, QuerySelect,
    sea_query::{Expr, Func},
};

use crate::{
    app::App,
    domain::{
        Fault,
        account::AccountIds,
        caller::AccountCaller,
        channel::recipient::{self, identity},
        list::{List, is_one_of},
        page::{Page, PageArgs},
        search,
    },
};

#[derive(Clone, Debug, Default)]
pub struct OptOutFilter {
    /// Part of the address, or an address in any form that a send accepts.
    pub search: Option<String>,
    pub channel: Option<Vec<Channel>>,
}

/// Returns one page of the caller's opt-outs, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    filter: &OptOutFilter,
    page: &PageArgs,
) -> Result<Page<opt_out::Model>, Fault> {
    let keyset = page.keyset("opt_outs")?;
    let mut condition = Condition::all();
    if let Some(channel) = &filter.channel {
        condition = condition.add(is_one_of(Column::Channel, channel));
    }
    if let Some(text) = &filter.search {
        let address = || Func::lower(Expr::col(Column::Address)).into();
        let holds = |text: &str| search::holds(app.db.backend(), address(), text);
        let mut any = Condition::any().add(holds(text)?);
        if let Ok(recipient) = recipient::parse(text, None) {
            let identity = recipient.identity();
            any = any.add(search::holds_short(app.db.backend(), address(), &identity));
        }
        condition = condition.add(any);
    }
    let rows = Entity::owned_by(caller.account_id);
    let list = List::newest_first(rows, Column::Id, |row| row.id).filtered(condition);
    list.page(&app.read_as(caller), keyset).await
}

/// Returns those of these addresses that have opted out of the account's messages.
pub async fn opted_out_of(
    app: &App,
    owner: AccountIds,
    addresses: &[(Channel, String)],
) -> Result<HashSet<(Channel, String)>, Fault> {
    let identities = addresses.iter().map(|(channel, address)| identity(*channel, address));
    let rows: Vec<(Channel, String)> = Entity::owned_by(owner.account_id)
        .select_only()
        .columns([Column::Channel, Column::Address])
        // All channels are listed, so that the unique index is used.
        .filter(Column::Channel.is_in(Channel::iter()))
        .filter(Column::Address.is_in(identities))
        .into_tuple()
        .all(&app.read_as(owner))
        .await?;
    let rows: HashSet<(Channel, String)> = rows.into_iter().collect();
    let is_opted_out = |(channel, address): &&(Channel, String)| {
        rows.contains(&(*channel, identity(*channel, address).into_owned()))
    };
    Ok(addresses.iter().filter(is_opted_out).cloned().collect())
}
