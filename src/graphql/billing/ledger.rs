//! The ledger: every movement of a team's balance.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::ledger_entry as rows;

use crate::{
    domain::{account::stored, billing::ledger_list as domain, page::PageArgs},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        connection::{List, list, page_args},
        enums::{LedgerKind, values},
        input::{AccountRef, DateTimeRange},
        loaders::{AccountId, MessageId, PhoneNumberId},
        message::Message,
        phone_number::PhoneNumber,
        scalars::{Cents, DateTime},
    },
};

/// GraphQL's `LedgerEntry`, described there.
pub struct LedgerEntry(pub rows::Model);

/// One movement of the team's balance. Entries are never changed or deleted.
#[Object]
impl LedgerEntry {
    /// The entry's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Why the balance moved.
    async fn kind(&self) -> LedgerKind {
        self.0.kind.into()
    }

    /// What it did to the team's balance, in cents: a charge is negative.
    async fn amount(&self) -> Cents {
        stored(self.0.amount_micros).into()
    }

    /// The team's balance after it, in cents; null where the key may not see the balance.
    async fn balance_after(&self, ctx: &Context<'_>) -> Result<Option<Cents>> {
        let is_visible = match ctx.account() {
            Err(_) => true,
            Ok(caller) if !caller.is_sub_account => true,
            Ok(caller) => {
                let own = ctx.row(AccountId(caller.account_id)).await?;
                own.is_some_and(|own| own.team_balance_visible)
            }
        };
        Ok(is_visible.then(|| stored(self.0.balance_after_micros).into()))
    }

    /// The account that was charged or refunded; null for movements of the team itself.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let Some(id) = self.0.account_id else {
            return Ok(None);
        };
        Ok(ctx.row(AccountId(id)).await?.map(Account))
    }

    /// The id of the message that was charged or refunded; null for other kinds.
    async fn message_id(&self) -> Option<ID> {
        self.0.message_id.map(ID::from)
    }

    /// The message that was charged or refunded; null unless it is one of the account and
    /// environment of the key in use.
    async fn message(&self, ctx: &Context<'_>) -> Result<Option<Message>> {
        let Some(id) = self.0.message_id else {
            return Ok(None);
        };
        Ok(ctx.row(MessageId(id)).await?.map(Message))
    }

    /// The id of the phone number whose fee it is; null for other kinds.
    async fn phone_number_id(&self) -> Option<ID> {
        self.0.phone_number_id.map(ID::from)
    }

    /// The phone number whose fee it is; null unless it is one of the account of the key in use.
    async fn phone_number(&self, ctx: &Context<'_>) -> Result<Option<PhoneNumber>> {
        let Some(id) = self.0.phone_number_id else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(PhoneNumberId(id)).await?.map(PhoneNumber))
    }

    /// Which month of the phone number was paid: 1 for the first; 0 for the upfront fee. Null for
    /// other kinds.
    async fn phone_number_month(&self) -> Option<i32> {
        self.0.phone_number_month
    }

    /// What the operator noted, if anything.
    async fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }

    /// When the balance moved.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Which entries to list: those that fit every part that is given.
#[derive(InputObject, Default)]
pub struct LedgerFilter {
    /// Those of one of these kinds.
    kind: Option<Vec<LedgerKind>>,
    /// Those of one account of the team. Main-account and operator keys only.
    #[graphql(visible = "access::team")]
    account: Option<AccountRef>,
    /// Those made in this time.
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
    /// The movements of the team's balance, newest first: a sub-account's key sees those that its
    /// account caused, a main account's key the whole team's.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn ledger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<LedgerFilter>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<LedgerEntry>> {
        let caller = ctx.account()?;
        let page = page_args(ctx, first, after, last, before)?;
        if !caller.is_sub_account {
            return list_of_team(ctx, caller.team_id, filter, page).await;
        }
        let found = domain::list_own(ctx.app()?, &caller, &filter.into(), &page).await?;
        Ok(list(found, LedgerEntry))
    }
}

/// The list behind a whole team's `ledger`.
pub async fn list_of_team(
    ctx: &Context<'_>,
    team_id: uuid::Uuid,
    filter: Option<LedgerFilter>,
    page: PageArgs,
) -> Result<List<LedgerEntry>> {
    let team = ctx.caller()?.team(team_id)?;
    let found = domain::list_of_team(ctx.app()?, &team, &filter.into(), &page).await?;
    Ok(list(found, LedgerEntry))
}
