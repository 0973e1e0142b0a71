//! Reading the audit log, as a main account or as an operator.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::audit_entry as rows;
use uuid::Uuid;

use crate::{
    domain::{audit_log::list as domain, page::PageArgs},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        api_key::ApiKey,
        connection::{List, list, page_args},
        enums::{AuditAction, AuditActor, AuditOutcome, values},
        execution::text_size::TextBytes as _,
        input::{AccountRef, DateTimeRange, parse_id},
        loaders::{AccountId, KeyId, TeamId},
        scalars::{DateTime, JsonObject},
        team::Team,
    },
};

/// GraphQL's `AuditEntry`, described there.
pub struct AuditEntry(pub rows::Model);

/// A call that managed something, moved money or changed what an account owns, and what came of it. Entries
/// are never deleted, and only the count of a refusal ever changes. They hold no key, text, address or anything
/// else of a contact.
#[Object]
impl AuditEntry {
    /// The entry's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What was called.
    async fn action(&self) -> AuditAction {
        self.0.action.into()
    }

    /// What came of it.
    async fn outcome(&self) -> AuditOutcome {
        self.0.outcome.into()
    }

    /// Why it was refused: the code of the mutation's error, or of the top-level error such as FORBIDDEN. Null if it
    /// was not.
    async fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// How many calls this entry stands for. Calls of one key and action about one account that are refused with one
    /// code within a minute are one entry of each server process, with the targetId and the requestId of the first. A
    /// repeat is counted a few seconds later. 1 unless the outcome is REFUSED.
    async fn count(&self) -> i32 {
        self.0.count
    }

    /// Who acted.
    async fn actor(&self) -> AuditActor {
        self.0.actor.into()
    }

    /// The key that was used; null on the command line, and of an operator's key to a main account.
    async fn actor_key(&self, ctx: &Context<'_>) -> Result<Option<ApiKey>> {
        let Some(id) = self.0.key_id else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(KeyId(id)).await?.map(ApiKey))
    }

    /// The team that it concerns; null where it concerns none.
    async fn team(&self, ctx: &Context<'_>) -> Result<Option<Team>> {
        let Some(id) = self.0.team_id else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(TeamId(id)).await?.map(Team))
    }

    /// The account that it concerns: the one that was managed, or that changed what it owns. Null where it
    /// concerns the team as a whole, or a refused call named none that there is.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let Some(id) = self.0.account_id else {
            return Ok(None);
        };
        Ok(ctx.row(AccountId(id)).await?.map(Account))
    }

    /// The id of what was made or changed, of the ledger's entry where money was moved, or what a refused call
    /// named, which need not exist. Null if there is no such one thing.
    async fn target_id(&self) -> Option<ID> {
        self.0.target_id.map(ID::from)
    }

    /// The settings that were changed, as they were before; null if there are none. Amounts are in cents.
    async fn before(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.before.as_deref(), ctx.reservation()?)?)
    }

    /// The same settings from then on, or those that something was made with; counts, where many were changed.
    /// Null if there are none. Amounts are in cents.
    async fn after(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.after.as_deref(), ctx.reservation()?)?)
    }

    /// The id of the request, which its answer had as X-Request-Id; null on the command line.
    async fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// When it was.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Which entries to list: those that fit every part that is given.
#[derive(InputObject, Default)]
pub struct AuditLogFilter {
    /// Those of one of these actions.
    action: Option<Vec<AuditAction>>,
    /// Those with one of these outcomes.
    outcome: Option<Vec<AuditOutcome>>,
    /// Those made with the key of this id.
    actor_key_id: Option<ID>,
    /// Those that concern this account. An operator names it by its externalId only where the entries of one team
    /// are asked for.
    account: Option<AccountRef>,
    /// Those made in this time.
    created_at: Option<DateTimeRange>,
}

impl From<Option<AuditLogFilter>> for domain::AuditFilter {
    fn from(filter: Option<AuditLogFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            action: values(filter.action),
            outcome: values(filter.outcome),
            account: filter.account.map(Into::into),
            // A malformed id is looked for like one that nobody has.
            actor_key_id: filter.actor_key_id.map(|id| parse_id(&id).unwrap_or_default()),
            created_at: filter.created_at.into(),
        }
    }
}

#[derive(Default)]
pub struct AuditLogQuery;

#[Object]
impl AuditLogQuery {
    /// Who changed what, and who was refused, newest first: of a main account's team, or of the
    /// whole server for an operator. Messages are not in it. What a sub-account does with its
    /// contacts, opt-outs, templates, senders and phone numbers is shown to operators only.
    /// Main-account and operator keys only.
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
        list_entries(ctx, None, filter, page_args(ctx, first, after, last, before)?).await
    }
}

/// The list behind every `auditLog`: of one team, or of all that the caller may see.
pub async fn list_entries(
    ctx: &Context<'_>,
    team_id: Option<Uuid>,
    filter: Option<AuditLogFilter>,
    page: PageArgs,
) -> Result<List<AuditEntry>> {
    let (app, caller, filter) = (ctx.app()?, ctx.caller()?, filter.into());
    let found = match caller.operator() {
        Ok(operator) => domain::list_for_operator(app, &operator, team_id, &filter, &page).await?,
        Err(_) => domain::list_of_team(app, &caller.main()?, &filter, &page).await?,
    };
    ctx.reservation()?.take(found.bytes())?;
    Ok(list(found, AuditEntry))
}
