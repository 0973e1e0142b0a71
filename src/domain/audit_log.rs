//! The audit log: every call that manages something, moves money or changes what an account owns, with who
//! made it and what came of it. Messages are not in it, for they tell of themselves.
//!
//! What is done is entered in the transaction that does it: changes begin with one of the functions of
//! [`authentication`](super::authentication), which give an [`AuditedTransaction`], and that cannot be
//! committed without an [`Entry`]. What is refused is entered once that is known, in a write of its own, by
//! whoever runs the call: the root of all mutations, or a command.
//!
//! An entry holds ids, numbers and settings, never a key, a hash, a text of a message, an address, or anything
//! else of a contact; of metadata it says only that it changed. An entry about what a sub-account did with
//! what it owns is private (R3): operators see it, its main account does not.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    ops::Deref,
    sync::LazyLock,
};

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use entity::{
    account, api_key,
    api_key::Role,
    audit_entry::{self, AuditAction, AuditActor, AuditOutcome},
    team,
};
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    ExecResult, IntoActiveModel, Iterable, QueryFilter, QueryResult, Statement,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Fault,
    account::stored,
    caller::{AccountCaller, Caller, LiveAccountCaller, LiveMainCaller, OperatorCaller},
    sub_account::AccountRef,
};
use crate::App;

/// What stands in an entry instead of metadata.
const NOT_SHOWN: &str = "(not shown)";

tokio::task_local! {
    static CALL: Call;
}

/// The call that is under way.
struct Call {
    request_id: String,
    /// The code by which it was refused.
    refusal: RefCell<Option<String>>,
}

/// Runs a call, all of whose entries have this request's id.
pub async fn under<T>(request_id: String, call: impl Future<Output = T>) -> T {
    CALL.scope(Call { request_id, refusal: RefCell::default() }, call).await
}

/// Notes that the call that is under way was refused with this code.
pub fn note_refusal(code: &impl Debug) {
    let _ = CALL.try_with(|call| call.refusal.replace(Some(code_name(code))));
}

/// The code by which the call that is under way was refused, if it was.
pub fn noted_refusal() -> Option<String> {
    CALL.try_with(|call| call.refusal.take()).ok().flatten()
}

/// A refusal's code as the API calls it.
pub fn code_name(code: &impl Debug) -> String {
    in_capitals(&format!("{code:?}"))
}

/// `ExternalIdTaken` is EXTERNAL_ID_TAKEN.
fn in_capitals(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

/// What a mutation of this name is entered as; `None` if it is not.
pub fn action_of(mutation: &str) -> Option<AuditAction> {
    static ACTIONS: LazyLock<HashMap<String, AuditAction>> = LazyLock::new(|| {
        AuditAction::iter().map(|action| (mutation_name(&action.to_value()), action)).collect()
    });
    ACTIONS.get(mutation).copied()
}

/// `CREATE_TEAM` is createTeam.
fn mutation_name(action: &str) -> String {
    let mut words = action.split('_').map(str::to_ascii_lowercase);
    let first = words.next().unwrap_or_default();
    words.fold(first, |name, word| name + &word[..1].to_ascii_uppercase() + &word[1..])
}

/// Whether it is an account's work with what it owns: of a sub-account, nobody else in the team sees it (R3).
fn is_own_work(action: AuditAction) -> bool {
    use AuditAction as Action;
    match action {
        Action::CreateContact
        | Action::UpdateContact
        | Action::DeleteContact
        | Action::AddContactAddress
        | Action::UpdateContactAddress
        | Action::RemoveContactAddress
        | Action::MergeContacts
        | Action::ImportContacts
        | Action::AddOptOut
        | Action::ImportOptOuts
        | Action::RemoveOptOut => true,
        Action::SetQuietHours
        | Action::CreateSubAccount
        | Action::UpdateSubAccount
        | Action::SuspendSubAccount
        | Action::ReactivateSubAccount
        | Action::DeactivateSubAccount
        | Action::CreateApiKey
        | Action::UpdateApiKey
        | Action::RotateApiKey
        | Action::RevokeApiKey
        | Action::CreateTeam
        | Action::TopUpTeam
        | Action::AdjustTeamBalance
        | Action::ImportPrices => false,
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    kind: AuditActor,
    key_id: Option<Uuid>,
    team_id: Option<Uuid>,
    account_id: Option<Uuid>,
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        match caller.account() {
            Ok(account) => Self::from(&account),
            Err(_) => Self::operator(Some(caller.key_id)),
        }
    }
}

impl From<&AccountCaller> for Actor {
    fn from(caller: &AccountCaller) -> Self {
        let kind =
            if caller.is_sub_account { AuditActor::SubAccount } else { AuditActor::MainAccount };
        Self::of_account(kind, caller.key_id, caller.team_id, caller.account_id)
    }
}

impl From<&LiveAccountCaller> for Actor {
    fn from(caller: &LiveAccountCaller) -> Self {
        Self::from(caller.account())
    }
}

impl From<&LiveMainCaller> for Actor {
    fn from(main: &LiveMainCaller) -> Self {
        Self::of_account(AuditActor::MainAccount, main.key_id(), main.team_id(), main.account_id())
    }
}

impl From<&OperatorCaller> for Actor {
    fn from(operator: &OperatorCaller) -> Self {
        Self::operator(operator.key_id())
    }
}

impl Actor {
    fn of_account(kind: AuditActor, key_id: Uuid, team_id: Uuid, account_id: Uuid) -> Self {
        let (key_id, team_id, account_id) = (Some(key_id), Some(team_id), Some(account_id));
        Self { kind, key_id, team_id, account_id }
    }

    /// Without a key, on the command line.
    fn operator(key_id: Option<Uuid>) -> Self {
        let kind = if key_id.is_some() { AuditActor::Operator } else { AuditActor::CommandLine };
        Self { kind, key_id, team_id: None, account_id: None }
    }
}

/// Settings by name, as the API calls them.
pub type Settings = BTreeMap<&'static str, Value>;

/// An amount as the API writes it: cents, exactly.
pub fn cents(micros: i64) -> Value {
    let cents = stored(micros).to_cents_text();
    Value::Number(cents.parse().expect("cents are written as a JSON number"))
}

/// A moment as the API writes it; null for none.
pub fn moment(moment: Option<DateTime<Utc>>) -> Value {
    json!(moment.map(|moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true)))
}

/// What is entered of a call, besides who made it.
pub struct Entry {
    action: AuditAction,
    outcome: AuditOutcome,
    code: Option<String>,
    target_id: Option<Uuid>,
    team_id: Option<Uuid>,
    account: Option<Concerned>,
    before: Settings,
    after: Settings,
}

/// The account that an entry concerns.
#[derive(Clone, Copy)]
struct Concerned {
    id: Uuid,
    is_sub_account: bool,
}

impl Entry {
    /// This was done. It concerns the team of who did it, unless that is said; what is an account's own work
    /// concerns that account.
    pub fn of(action: AuditAction, target_id: impl Into<Option<Uuid>>) -> Self {
        Self {
            action,
            outcome: AuditOutcome::Done,
            code: None,
            target_id: target_id.into(),
            team_id: None,
            account: None,
            before: Settings::new(),
            after: Settings::new(),
        }
    }

    /// It concerns this account.
    pub fn to(mut self, account: &account::Model) -> Self {
        self.account =
            Some(Concerned { id: account.id, is_sub_account: account.is_sub_account });
        self.to_team(account.team_id)
    }

    /// It concerns the account of this key; of an operator's, none.
    pub fn to_key(mut self, key: &api_key::Model) -> Self {
        let is_sub_account = key.role == Role::SubAccount;
        self.account = key.account_id.map(|id| Concerned { id, is_sub_account });
        self.team_id = key.team_id;
        self
    }

    /// It concerns this team.
    pub fn to_team(mut self, team_id: Uuid) -> Self {
        self.team_id = Some(team_id);
        self
    }

    /// It had been done before, under the same idempotency key; nothing was done now.
    pub fn replayed(mut self) -> Self {
        self.outcome = AuditOutcome::Replayed;
        self
    }

    /// Something was made with these settings; those that are null are left out.
    pub fn made(self, after: Settings) -> Self {
        self.changed(Settings::new(), after)
    }

    /// Settings were changed; what stayed as it was is left out, and so is metadata itself.
    pub fn changed(mut self, before: Settings, after: Settings) -> Self {
        let differing = |one: &Settings, other: &Settings| {
            let differs = |(name, value): &(&&'static str, &Value)| {
                other.get(*name).unwrap_or(&Value::Null) != *value
            };
            let shown = |(name, value): (&&'static str, &Value)| match *name {
                "metadata" if !value.is_null() => (*name, json!(NOT_SHOWN)),
                name => (name, value.clone()),
            };
            one.iter().filter(differs).map(shown).collect()
        };
        (self.before, self.after) = (differing(&before, &after), differing(&after, &before));
        self
    }

    fn row(self, app: &App, by: Actor) -> audit_entry::Model {
        let is_own_work = is_own_work(self.action);
        let is_sub_account = by.kind == AuditActor::SubAccount;
        // A sub-account has no other business than its own, also where it tried to.
        let own = by.account_id.filter(|_| is_own_work || is_sub_account);
        let account = self.account.or(own.map(|id| Concerned { id, is_sub_account }));
        let text = |settings: Settings| (!settings.is_empty()).then(|| json!(settings).to_string());
        audit_entry::Model {
            id: app.new_id(),
            team_id: by.team_id.or(self.team_id),
            account_id: account.map(|account| account.id),
            is_private: is_own_work && account.is_some_and(|account| account.is_sub_account),
            actor: by.kind,
            key_id: by.key_id,
            action: self.action,
            outcome: self.outcome,
            code: self.code,
            target_id: self.target_id,
            before: text(self.before),
            after: text(self.after),
            request_id: CALL.try_with(|call| call.request_id.clone()).ok(),
            created_at: app.clock.now(),
        }
    }

    async fn write<C: ConnectionTrait>(self, app: &App, by: Actor, db: &C) -> Result<(), Fault> {
        let row = self.row(app, by).into_active_model();
        audit_entry::Entity::insert(row).exec_without_returning(db).await?;
        Ok(())
    }
}

/// A transaction of a change, which is committed with its entry or not at all.
pub struct AuditedTransaction {
    txn: DatabaseTransaction,
    by: Actor,
}

impl AuditedTransaction {
    pub(super) fn new(txn: DatabaseTransaction, by: impl Into<Actor>) -> Self {
        Self { txn, by: by.into() }
    }

    /// Enters what was done, and commits both.
    pub async fn commit(self, app: &App, entry: Entry) -> Result<(), Fault> {
        entry.write(app, self.by, &self.txn).await?;
        Ok(self.txn.commit().await?)
    }
}

impl Deref for AuditedTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.txn
    }
}

/// So that statements run in it as in any transaction.
#[async_trait]
impl ConnectionTrait for AuditedTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.txn.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.txn.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.txn.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.txn.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.txn.query_all_raw(statement).await
    }
}

/// What the arguments of a refused call named.
#[derive(Debug, Default)]
pub struct Named {
    pub id: Option<Uuid>,
    pub account: Option<AccountRef>,
}

/// Enters that a call was refused with this code. Nothing was changed by it.
pub async fn enter_refusal(
    app: &App,
    by: impl Into<Actor>,
    action: AuditAction,
    code: String,
    named: Named,
) -> Result<(), Fault> {
    let by = by.into();
    let mut entry = Entry::of(action, named.id);
    (entry.outcome, entry.code) = (AuditOutcome::Refused, Some(code));
    match (by.kind, by.team_id) {
        (AuditActor::MainAccount, Some(team_id)) => {
            entry = concerning(app, team_id, entry, named).await?;
        }
        (AuditActor::Operator | AuditActor::CommandLine, _) => {
            let team = team::Entity::find_by_id(named.id.unwrap_or_default());
            if let Some(team) = team.one(&app.db.read).await? {
                entry = entry.to_team(team.id);
            }
        }
        _ => {}
    }
    entry.write(app, by, &app.db.write).await
}

/// Says which account of the team a refused call named, if there is one.
async fn concerning(
    app: &App,
    team_id: Uuid,
    mut entry: Entry,
    named: Named,
) -> Result<Entry, Fault> {
    use AuditAction as Action;
    if let Some(account) = named.account {
        if let AccountRef::Id(id) = account {
            entry.target_id = Some(id);
        }
        if let Some(found) = account.find_in(team_id, &app.db.read).await? {
            entry.target_id = Some(found.id);
            return Ok(entry.to(&found));
        }
    } else if let (Action::UpdateApiKey | Action::RotateApiKey | Action::RevokeApiKey, Some(id)) =
        (entry.action, named.id)
    {
        let key = api_key::Entity::of_team(team_id).filter(api_key::Column::Id.eq(id));
        if let Some(key) = key.one(&app.db.read).await? {
            return Ok(entry.to_key(&key));
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_named_like_their_mutations() {
        assert_eq!(action_of("topUpTeam"), Some(AuditAction::TopUpTeam));
        assert_eq!(action_of("removeOptOut"), Some(AuditAction::RemoveOptOut));
        assert_eq!(action_of("TOP_UP_TEAM"), None);
        assert_eq!(action_of("sendMessage"), None);
        for action in AuditAction::iter() {
            assert_eq!(in_capitals(&mutation_name(&action.to_value())), action.to_value());
        }
    }

    /// What stayed is left out; what is metadata is not shown, and null is.
    #[test]
    fn an_entry_has_what_differs() {
        let before = Settings::from([
            ("name", json!("A")),
            ("creditLimit", cents(10_001)),
            ("status", json!("ACTIVE")),
            ("metadata", json!("{\"secret\":1}")),
        ]);
        let after = Settings::from([
            ("name", json!("B")),
            ("creditLimit", Value::Null),
            ("status", json!("ACTIVE")),
            ("metadata", Value::Null),
        ]);
        let entry = Entry::of(AuditAction::UpdateSubAccount, None).changed(before, after.clone());
        let shown = |settings: Settings| json!(settings);
        assert_eq!(
            shown(entry.before),
            json!({ "name": "A", "creditLimit": 1.0001, "metadata": NOT_SHOWN })
        );
        assert_eq!(
            shown(entry.after),
            json!({ "name": "B", "creditLimit": null, "metadata": null })
        );
        let entry = Entry::of(AuditAction::CreateSubAccount, None).made(after);
        assert_eq!(shown(entry.before), json!({}));
        assert_eq!(shown(entry.after), json!({ "name": "B", "status": "ACTIVE" }));
    }
}
