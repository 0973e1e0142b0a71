//! Teams. Their accounts can read them, and operators can create them and top them up.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{audit_entry::AuditAction, team as rows};

use super::{
    access::{self, ContextExt, RoleGuard},
    account::{Account, balance_if_visible, domain_dimensions},
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
    loaders::MainAccountOf,
    payload::payload,
    scalars::{CURRENCY, Cents, DateTime},
};
use crate::domain::{self, Fault, audit_log::refused_call::Target, billing};
use sub_account_list::{SubAccountFilter, SubAccountOrder, list_sub_accounts};

pub mod sub_account;
pub mod sub_account_list;

/// The GraphQL object `Team`.
pub struct Team(pub rows::Model);

/// A team with a prepaid balance, a main account, and sub-accounts that share the balance.
#[Object]
impl Team {
    /// Id of the team.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Name of the team.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Currency of all amounts. It is always USD.
    async fn currency(&self) -> &'static str {
        CURRENCY
    }

    /// Prepaid balance in cents, which all accounts of the team share. Null if the main account
    /// hides it from this sub-account.
    async fn balance(&self, ctx: &Context<'_>) -> Result<Option<Cents>> {
        balance_if_visible(ctx, self.0.balance_micros).await
    }

    /// Main account of the team. Requires a key of the main account or of an operator.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn main_account(&self, ctx: &Context<'_>) -> Result<Account> {
        let main = ctx.row(Some(MainAccountOf(self.0.id))).await?;
        Ok(main.map(Account).ok_or(Fault::Broken("every team has a main account"))?)
    }

    /// Sub-accounts of the team, by default newest first. Requires a key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn sub_accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Filter for the sub-accounts. If omitted, all sub-accounts are returned."
        )]
        filter: Option<SubAccountFilter>,
        #[graphql(desc = "Order of the sub-accounts (default newest first).")] order_by: Option<
            SubAccountOrder,
        >,
    ) -> Result<List<Account>> {
        list_sub_accounts(ctx, filter, order_by).await
    }

    /// Number and cost of the LIVE messages of all accounts of the team, and their phone number
    /// fees, computed from daily totals. Requires a key of the main account or of an operator.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn usage(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Range of UTC days to total (maximum 366 days; default: the current month \
                    up to today)."
        )]
        range: Option<DateRange>,
        #[graphql(desc = "Dimensions by which to split the totals (maximum 10,000 buckets). If \
                    omitted, there are no buckets.")]
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

    /// Changes to the team's balance, newest first. Requires a key of the main account or of an
    /// operator.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn ledger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the entries. If omitted, all entries are returned.")]
        filter: Option<LedgerFilter>,
    ) -> Result<List<LedgerEntry>> {
        list_of_team(ctx, self.0.id, filter).await
    }

    /// Changes and refused calls in the team, newest first. Sending and canceling messages is not
    /// logged. Changes that a sub-account makes to its own contacts, opt-outs, templates, senders
    /// and phone numbers are shown to operators only. Requires a key of the main account or of an
    /// operator.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the entries. If omitted, all entries are returned.")]
        filter: Option<AuditLogFilter>,
    ) -> Result<List<AuditEntry>> {
        list_entries(ctx, Some(self.0.id), filter).await
    }

    /// When the team was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Properties of the new team.
#[derive(InputObject)]
pub struct CreateTeamInput {
    /// Name of the team and of its main account (1 to 200 characters).
    name: String,
}

/// New name of a team.
#[derive(InputObject)]
pub struct RenameTeamInput {
    /// Id of the team.
    team_id: ID,
    /// New name of the team and of its main account (1 to 200 characters).
    name: String,
}

/// Payment to add to a team's balance.
#[derive(InputObject)]
pub struct TopUpTeamInput {
    /// Id of the team.
    team_id: ID,
    /// Amount to add, in cents. It must be greater than 0.
    amount: Cents,
    /// Key of your choice (1 to 255 characters), unique per team. A repeat with the same input
    /// returns the first entry and changes nothing. A repeat with a different input is refused.
    idempotency_key: String,
    /// Note that the ledger entry contains (1 to 500 characters). If omitted, there is none.
    note: Option<String>,
}

/// Correction of a team's balance.
#[derive(InputObject)]
pub struct AdjustTeamBalanceInput {
    /// Id of the team.
    team_id: ID,
    /// Amount to add, in cents. A negative amount is subtracted. The balance cannot fall below 0.
    amount: Cents,
    /// Key of your choice (1 to 255 characters), unique per team. A repeat with the same input
    /// returns the first entry and changes nothing. A repeat with a different input is refused.
    idempotency_key: String,
    /// Reason for the correction, which the ledger entry contains (1 to 500 characters).
    reason: String,
}

payload! {
    /// Result of createTeam.
    CreateTeamPayload, domain::team::CreateTeamRefusal, domain::team::CreatedTeam as created => {
        /// The new team; null if the mutation was refused.
        team: Option<Team> = Some(Team(created.team)),
        /// The main account of the new team; null if the mutation was refused.
        main_account: Option<Account> = Some(Account(created.main_account)),
        /// The complete first key of the main account, which authenticates requests. It is shown
        /// only once. Null if the mutation was refused.
        plain_key: Option<String> = Some(created.plain_key.reveal().to_owned()),
    }
}

payload! {
    /// Result of renameTeam.
    RenameTeamPayload, domain::team::RenameTeamRefusal, rows::Model as team => {
        /// The team after the change; null if the mutation was refused.
        team: Option<Team> = Some(Team(team)),
    }
}

payload! {
    /// Result of topUpTeam.
    TopUpTeamPayload, billing::TopUpRefusal, billing::Deposited as done => {
        /// The team after the change; null if the mutation was refused.
        team: Option<Team> = Some(Team(done.team)),
        /// The ledger entry of the change; null if the mutation was refused.
        entry: Option<LedgerEntry> = Some(LedgerEntry(done.entry)),
        /// Whether the change had already been made with the same idempotencyKey, so this call
        /// changed nothing.
        replayed: bool = done.is_replay,
    }
}

payload! {
    /// Result of adjustTeamBalance.
    AdjustTeamBalancePayload, billing::AdjustRefusal, billing::Deposited as done => {
        /// The team after the change; null if the mutation was refused.
        team: Option<Team> = Some(Team(done.team)),
        /// The ledger entry of the change; null if the mutation was refused.
        entry: Option<LedgerEntry> = Some(LedgerEntry(done.entry)),
        /// Whether the change had already been made with the same idempotencyKey, so this call
        /// changed nothing.
        replayed: bool = done.is_replay,
    }
}

#[derive(Default)]
pub struct TeamQuery;

#[Object]
impl TeamQuery {
    /// All teams, newest first. Requires a key of an operator.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn teams(&self, ctx: &Context<'_>) -> Result<List<Team>> {
        let operator = ctx.caller()?.operator()?;
        let found = domain::team::list(ctx.app()?, &operator, &page_args(ctx)?).await?;
        Ok(list(found, Team))
    }

    /// Team with this id; null if it does not exist. Requires a key of an operator.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn team_by_id(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the team.")] id: ID,
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
    /// Creates a team with its main account and the first LIVE key of that account. Requires a key
    /// of an operator.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn create_team(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new team.")] input: CreateTeamInput,
    ) -> Result<Option<CreateTeamPayload>> {
        let done = audited(ctx, AuditAction::CreateTeam, Target::Nothing, async {
            domain::team::create(ctx.app()?, &ctx.operator()?, &input.name).await
        });
        CreateTeamPayload::of(done.await)
    }

    /// Renames a team and its main account. Requires a key of an operator.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn rename_team(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The team and its new name.")] input: RenameTeamInput,
    ) -> Result<Option<RenameTeamPayload>> {
        let id = parse_id(&input.team_id);
        let done = audited(ctx, AuditAction::RenameTeam, Target::Team(id), async {
            domain::team::rename(ctx.app()?, &ctx.operator()?, id, &input.name).await
        });
        RenameTeamPayload::of(done.await)
    }

    /// Adds an amount to a team's balance, once for each idempotencyKey. Requires a key of an
    /// operator.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn top_up_team(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The team and the amount to add.")] input: TopUpTeamInput,
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

    /// Increases or decreases a team's balance to correct it, once for each idempotencyKey. The
    /// balance cannot fall below 0. Requires a key of an operator.
    #[graphql(guard = "RoleGuard::Operator", visible = "access::operator")]
    async fn adjust_team_balance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The correction and the reason for it.")] input: AdjustTeamBalanceInput,
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
