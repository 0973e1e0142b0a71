//! Queries for the audit log.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::audit_entry as rows;
use uuid::Uuid;

use crate::{
    domain::audit_log::list as domain,
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

/// The GraphQL object `AuditEntry`.
pub struct AuditEntry(pub rows::Model);

/// A call that changed, or tried to change, settings, objects or a balance. Entries are never
/// deleted, and only the count of refused calls can change. They never contain API key secrets,
/// message or template text, or contact data.
#[Object]
impl AuditEntry {
    /// Id of the entry.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Action of the call.
    async fn action(&self) -> AuditAction {
        self.0.action.into()
    }

    /// Outcome of the call.
    async fn outcome(&self) -> AuditOutcome {
        self.0.outcome.into()
    }

    /// Error code with which the call was refused: the code of the mutation's error, or of a
    /// top-level error such as FORBIDDEN. Null if the call was not refused.
    async fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Number of calls that the entry represents; always 1 unless the outcome is REFUSED. If one
    /// server process refuses several calls with the same key, action, account and error code
    /// within one minute, they share an entry, which has the targetId and requestId of the first
    /// call. The count includes repeated calls after a delay of a few seconds.
    async fn count(&self) -> i32 {
        self.0.count
    }

    /// Kind of actor that made the call.
    async fn actor(&self) -> AuditActor {
        self.0.actor.into()
    }

    /// API key that was used. Null for the command line, or if an operator key was used and the
    /// entry is read with a key of the main account.
    async fn actor_key(&self, ctx: &Context<'_>) -> Result<Option<ApiKey>> {
        Ok(ctx.load(self.0.key_id.map(KeyId)).await?.map(ApiKey))
    }

    /// Team that the call concerned; null if it did not concern a team.
    async fn team(&self, ctx: &Context<'_>) -> Result<Option<Team>> {
        Ok(ctx.load(self.0.team_id.map(TeamId)).await?.map(Team))
    }

    /// Account that the call concerned: the account that was managed, or the account whose own
    /// objects were changed. Null if the call concerned the team as a whole, or if a refused call
    /// did not name an existing account. If the key's role cannot use the mutation, it is the
    /// account of the key if that is a sub-account.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        Ok(ctx.row(self.0.account_id.map(AccountId)).await?.map(Account))
    }

    /// Id of the object that was created or changed, or of the ledger entry if the balance changed.
    /// For a refused call, it is the id that was passed, which may not exist. Null if there is no
    /// single such object, if the id is malformed, or if the key's role cannot use the mutation.
    async fn target_id(&self) -> Option<ID> {
        self.0.target_id.map(ID::from)
    }

    /// Changed settings with their previous values. Amounts are in cents. Null if there are none.
    async fn before(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.before.as_deref(), ctx.reservation()?)?)
    }

    /// Changed settings with their new values, or the settings of a new object. Amounts are in
    /// cents. For an import, row counts by outcome, with keys such as imported and refused. Null if
    /// there are none.
    async fn after(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.after.as_deref(), ctx.reservation()?)?)
    }

    /// Id of the request, which the response contains in its X-Request-Id header. Null for the
    /// command line.
    async fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// When the call was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Filter for audit entries. An entry must meet all given conditions.
#[derive(InputObject, Default)]
pub struct AuditLogFilter {
    /// Only entries with one of these actions.
    action: Option<Vec<AuditAction>>,
    /// Only entries with one of these outcomes.
    outcome: Option<Vec<AuditOutcome>>,
    /// Only entries of calls that were made with the API key that has this id.
    actor_key_id: Option<ID>,
    /// Only entries that concern this account. An operator can use externalId only in the auditLog
    /// field of a team.
    account: Option<AccountRef>,
    /// Only entries that were created in this time range.
    created_at: Option<DateTimeRange>,
}

impl From<Option<AuditLogFilter>> for domain::AuditFilter {
    fn from(filter: Option<AuditLogFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            action: values(filter.action),
            outcome: values(filter.outcome),
            account: filter.account.map(Into::into),
            // No key has the nil id, so a filter with a malformed id matches nothing.
            actor_key_id: filter.actor_key_id.map(|id| parse_id(&id).unwrap_or_default()),
            created_at: filter.created_at.into(),
        }
    }
}

#[derive(Default)]
pub struct AuditLogQuery;

#[Object]
impl AuditLogQuery {
    /// Changes and refused calls, newest first. With a key of the main account, the entries of its
    /// team are returned; with an operator key, those of the whole server. Sending and canceling
    /// messages is not logged. Changes that a sub-account makes to its own contacts, opt-outs,
    /// templates, senders and phone numbers are shown to operators only. Requires a key of the main
    /// account or of an operator.
    #[graphql(guard = "RoleGuard::Team", visible = "access::team")]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the entries. If omitted, all entries are returned.")]
        filter: Option<AuditLogFilter>,
    ) -> Result<List<AuditEntry>> {
        list_entries(ctx, None, filter).await
    }
}

/// Implements all `auditLog` fields. Lists the entries of one team, or of all teams that the caller
/// may see.
pub async fn list_entries(
    ctx: &Context<'_>,
    team_id: Option<Uuid>,
    filter: Option<AuditLogFilter>,
) -> Result<List<AuditEntry>> {
    let page = page_args(ctx)?;
    let (app, caller, filter) = (ctx.app()?, ctx.caller()?, filter.into());
    let found = match caller.operator() {
        Ok(operator) => domain::list_for_operator(app, &operator, team_id, &filter, &page).await?,
        Err(_) => domain::list_of_team(app, &caller.main()?, &filter, &page).await?,
    };
    ctx.reservation()?.take(found.bytes())?;
    Ok(list(found, AuditEntry))
}
