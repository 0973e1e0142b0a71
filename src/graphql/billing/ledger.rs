//! The ledger: all changes to a team's balance.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::ledger_entry as rows;

use crate::{
    domain::billing::ledger_list as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::{Account, balance_if_visible},
        connection::{List, list, page_args},
        enums::{LedgerKind, values},
        input::{AccountRef, DateTimeRange},
        loaders::{AccountId, MessageId, PhoneNumberId},
        message::Message,
        phone_number::PhoneNumber,
        scalars::{Cents, DateTime},
    },
    money::Micros,
};

/// The GraphQL object `LedgerEntry`.
pub struct LedgerEntry(pub rows::Model);

/// A change to the team's balance. Entries are never changed or deleted.
#[Object]
impl LedgerEntry {
    /// Id of the entry.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Kind of the entry.
    async fn kind(&self) -> LedgerKind {
        self.0.kind.into()
    }

    /// Amount by which the team's balance changed, in cents. It is negative for charges and fees.
    async fn amount(&self) -> Cents {
        Micros::from_db(self.0.amount_micros).into()
    }

    /// Balance of the team after the change, in cents. Null if the main account hides the balance
    /// from this sub-account.
    async fn balance_after(&self, ctx: &Context<'_>) -> Result<Option<Cents>> {
        balance_if_visible(ctx, self.0.balance_after_micros).await
    }

    /// Account that was charged or refunded; null for changes that concern the team as a whole.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        Ok(ctx.row(self.0.account_id.map(AccountId)).await?.map(Account))
    }

    /// Id of the message that was charged or refunded; null for other kinds.
    async fn message_id(&self) -> Option<ID> {
        self.0.message_id.map(ID::from)
    }

    /// Message that was charged or refunded. Null for other kinds, or if the message does not
    /// belong to your account and the environment of your key.
    async fn message(&self, ctx: &Context<'_>) -> Result<Option<Message>> {
        Ok(ctx.row(self.0.message_id.map(MessageId)).await?.map(Message))
    }

    /// Id of the phone number whose fee was charged; null for other kinds.
    async fn phone_number_id(&self) -> Option<ID> {
        self.0.phone_number_id.map(ID::from)
    }

    /// Phone number whose fee was charged. Null for other kinds, or if the number does not belong
    /// to your account.
    async fn phone_number(&self, ctx: &Context<'_>) -> Result<Option<PhoneNumber>> {
        Ok(ctx.load(self.0.phone_number_id.map(PhoneNumberId)).await?.map(PhoneNumber))
    }

    /// Month of the phone number that was charged: 1 for the first month, 2 for the second and so
    /// on. It is 0 for the upfront price, and null for other kinds.
    async fn phone_number_month(&self) -> Option<i32> {
        self.0.phone_number_month
    }

    /// Note or reason that an operator entered; null if there is none.
    async fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }

    /// When the balance changed.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Filter for ledger entries. An entry must meet all given conditions.
#[derive(InputObject, Default)]
pub struct LedgerFilter {
    /// Only entries of these kinds.
    kind: Option<Vec<LedgerKind>>,
    /// Only entries of this account of the team. Requires a key of the main account or of an
    /// operator.
    #[graphql(visible = "access::team")]
    account: Option<AccountRef>,
    /// Only entries that were created in this time range.
    created_at: Option<DateTimeRange>,
}

impl From<Option<LedgerFilter>> for domain::LedgerFilter {
    fn from(filter: Option<LedgerFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            kind: values(filter.kind),
            account: filter.account.map(Into::into),
            created_at: filter.created_at.into(),
        }
    }
}

#[derive(Default)]
pub struct LedgerQuery;

#[Object]
impl LedgerQuery {
    /// Changes to the team's balance, newest first. With a key of a sub-account, only the charges
    /// and refunds of its account are returned; with a key of the main account, all changes.
    /// Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn ledger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the entries. If omitted, all entries are returned.")]
        filter: Option<LedgerFilter>,
    ) -> Result<List<LedgerEntry>> {
        let caller = ctx.account()?;
        if !caller.is_sub_account {
            return list_of_team(ctx, caller.team_id, filter).await;
        }
        let page = page_args(ctx)?;
        let found = domain::list_own(ctx.app()?, &caller, &filter.into(), &page).await?;
        Ok(list(found, LedgerEntry))
    }
}

/// Implements both `ledger` fields for a whole team.
pub async fn list_of_team(
    ctx: &Context<'_>,
    team_id: uuid::Uuid,
    filter: Option<LedgerFilter>,
) -> Result<List<LedgerEntry>> {
    let page = page_args(ctx)?;
    let team = ctx.caller()?.team(team_id)?;
    let found = domain::list_of_team(ctx.app()?, &team, &filter.into(), &page).await?;
    Ok(list(found, LedgerEntry))
}
