//! Teams: seen by their accounts, made and topped up by operators.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{audit_entry::AuditAction, team as rows};

use super::{
    access::{self, ContextExt, RoleGuard},
    account::{Account, domain_dimensions},
    audit_log::{
        audited,
        list::{AuditEntry, AuditLogFilter, list_entries},
    },
    billing::{
        ledger::{LedgerEntry, LedgerFilter, list_of_team},
        usage::{Usage, UsageDimension},
    },
    connection::{List, list, page_args},
    input::{DateRange, parse_id},
    loaders::{AccountId, MainAccountOf},
    payload::payload,
    scalars::{CURRENCY, Cents, DateTime},
};
use crate::domain::{self, Fault, account::stored, audit_log::refused_call::Target, billing};
use sub_account_list::{SubAccountFilter, SubAccountOrder, list_sub_accounts};

pub mod sub_account;
pub mod sub_account_list;

/// GraphQL's `Team`, described there.
pub struct Team(pub rows::Model);

/// A team: one prepaid balance, one main account, and any number of sub-accounts that share the
/// balance.
#[Object]
impl Team {
    /// The team's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The name that the team was given.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The currency of all amounts: USD.
    async fn currency(&self) -> &'static str {
        CURRENCY
    }

    /// The prepaid balance in cents, from which all accounts draw. Null for a sub-account's key
    /// when the main account hides it.
    async fn balance(&self, ctx: &Context<'_>) -> Result<Option<Cents>> {
        let is_visible = match ctx.account() {
            Ok(caller) if caller.is_sub_account => {
                let own = ctx.row(AccountId(caller.account_id)).await?;
                own.is_some_and(|own| own.team_balance_visible)
            }
            _ => true,
        };
        Ok(is_visible.then(|| stored(self.0.balance_micros).into()))
    }

    /// The team's one main account. Main-account and operator keys only.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn main_account(&self, ctx: &Context<'_>) -> Result<Account> {
        let main = ctx.row(MainAccountOf(self.0.id)).await?;
        Ok(main.map(Account).ok_or(Fault::Broken("every team has a main account"))?)
    }

    /// The team's sub-accounts, newest first unless ordered otherwise. Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn sub_accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<SubAccountFilter>,
        #[graphql(desc = "In which order; newest first if left out.")] order_by: Option<
            SubAccountOrder,
        >,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Account>> {
        let page = page_args(ctx, first, after, last, before)?;
        list_sub_accounts(ctx, filter, order_by, page).await
    }

    /// What the whole team sent and spent, from daily rollups of LIVE messages. Main-account and
    /// operator keys only.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn usage(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The days to sum, UTC, at most 366; this month so far if left out.")]
        range: Option<DateRange>,
        #[graphql(desc = "What to break the sums down by, into at most 10,000 buckets.")]
        group_by: Option<Vec<UsageDimension>>,
    ) -> Result<Usage> {
        let team = ctx.caller()?.team(self.0.id)?;
        let dimensions = domain_dimensions(group_by);
        let range = range.map(Into::into);
        let (app, reservation) = (ctx.app()?, ctx.reservation()?);
        Ok(Usage(
            domain::billing::usage::of_team(app, &team, range, &dimensions, reservation).await?,
        ))
    }

    /// Every movement of the team's balance, newest first. Main-account and operator keys only.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn ledger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<LedgerFilter>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<LedgerEntry>> {
        let page = page_args(ctx, first, after, last, before)?;
        list_of_team(ctx, self.0.id, filter, page).await
    }

    /// Who changed what in the team, and who was refused, newest first. Messages are not in it. What a sub-account
    /// does with its contacts and opt-outs is shown to operators only. Main-account and operator keys only.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<AuditLogFilter>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<AuditEntry>> {
        list_entries(ctx, Some(self.0.id), filter, page_args(ctx, first, after, last, before)?)
            .await
    }

    /// When the team was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// A team to be made.
#[derive(InputObject)]
pub struct CreateTeamInput {
    /// 1 to 200 characters; the main account gets the same name.
    name: String,
}

/// Money that came in.
#[derive(InputObject)]
pub struct TopUpTeamInput {
    /// The team.
    team_id: ID,
    /// How much, in cents, more than 0.
    amount: Cents,
    /// 1 to 255 characters, yours to make, for each team. A repeat with the same input changes
    /// nothing.
    idempotency_key: String,
    /// What it was for, 1 to 500 characters.
    note: Option<String>,
}

/// A correction of a balance.
#[derive(InputObject)]
pub struct AdjustTeamBalanceInput {
    /// The team.
    team_id: ID,
    /// How much, in cents; negative takes away. The balance never goes below 0.
    amount: Cents,
    /// 1 to 255 characters, yours to make, for each team. A repeat with the same input changes
    /// nothing.
    idempotency_key: String,
    /// Why, 1 to 500 characters.
    reason: String,
}

payload! {
    /// The answer to createTeam.
    CreateTeamPayload, domain::team::CreateTeamRefusal, domain::team::CreatedTeam as created => {
        /// The new team; null if refused.
        team: Option<Team> = Some(Team(created.team)),
        /// Its main account; null if refused.
        main_account: Option<Account> = Some(Account(created.main_account)),
        /// The main account's first key in full: shown here and never again. Null if refused.
        plain_key: Option<String> = Some(created.plain_key.reveal().to_owned()),
    }
}

payload! {
    /// The answer to topUpTeam.
    TopUpTeamPayload, billing::TopUpRefusal, billing::Deposited as done => {
        /// The team as it is now; null if refused.
        team: Option<Team> = Some(Team(done.team)),
        /// The movement; null if refused.
        entry: Option<LedgerEntry> = Some(LedgerEntry(done.entry)),
        /// Whether the movement was made before, under the same idempotencyKey.
        replayed: bool = done.is_replay,
    }
}

payload! {
    /// The answer to adjustTeamBalance.
    AdjustTeamBalancePayload, billing::AdjustRefusal, billing::Deposited as done => {
        /// The team as it is now; null if refused.
        team: Option<Team> = Some(Team(done.team)),
        /// The movement; null if refused.
        entry: Option<LedgerEntry> = Some(LedgerEntry(done.entry)),
        /// Whether the movement was made before, under the same idempotencyKey.
        replayed: bool = done.is_replay,
    }
}

#[derive(Default)]
pub struct TeamQuery;

#[Object]
impl TeamQuery {
    /// All teams, newest first. Operator keys only.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn teams(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Team>> {
        let operator = ctx.caller()?.operator()?;
        let page = page_args(ctx, first, after, last, before)?;
        Ok(list(domain::team::list(ctx.app()?, &operator, &page).await?, Team))
    }

    /// One team; null if there is none. Operator keys only.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn team_by_id(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The team's id.")] id: ID,
    ) -> Result<Option<Team>> {
        let operator = ctx.caller()?.operator()?;
        match parse_id(&id) {
            Some(id) => Ok(domain::team::find(ctx.app()?, &operator, id).await?.map(Team)),
            None => Ok(None),
        }
    }
}

#[derive(Default)]
pub struct TeamMutation;

#[Object]
impl TeamMutation {
    /// Makes a team with its main account and that account's first key, LIVE. Operator keys only.
    #[graphql(visible = "access::operator")]
    async fn create_team(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The team to be made.")] input: CreateTeamInput,
    ) -> Result<Option<CreateTeamPayload>> {
        let done = audited(ctx, AuditAction::CreateTeam, Target::Nothing, async {
            domain::team::create(ctx.app()?, &ctx.operator()?, &input.name).await
        });
        CreateTeamPayload::of(done.await)
    }

    /// Raises a team's balance, once for each idempotencyKey. Operator keys only.
    #[graphql(visible = "access::operator")]
    async fn top_up_team(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What came in, and for whom.")] input: TopUpTeamInput,
    ) -> Result<Option<TopUpTeamPayload>> {
        let top_up = billing::TopUp {
            team_id: parse_id(&input.team_id),
            amount: input.amount.0,
            idempotency_key: input.idempotency_key,
            note: input.note,
        };
        let done = audited(ctx, AuditAction::TopUpTeam, Target::Team(top_up.team_id), async {
            billing::top_up(ctx.app()?, &ctx.operator()?, top_up).await
        });
        TopUpTeamPayload::of(done.await)
    }

    /// Corrects a team's balance, up or down, once for each idempotencyKey and never below 0.
    /// Operator keys only.
    #[graphql(visible = "access::operator")]
    async fn adjust_team_balance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The correction and its reason.")] input: AdjustTeamBalanceInput,
    ) -> Result<Option<AdjustTeamBalancePayload>> {
        let adjustment = billing::Adjustment {
            team_id: parse_id(&input.team_id),
            amount: input.amount.0,
            idempotency_key: input.idempotency_key,
            reason: input.reason,
        };
        let done =
            audited(ctx, AuditAction::AdjustTeamBalance, Target::Team(adjustment.team_id), async {
                billing::adjust(ctx.app()?, &ctx.operator()?, adjustment).await
            });
        AdjustTeamBalancePayload::of(done.await)
    }
}
