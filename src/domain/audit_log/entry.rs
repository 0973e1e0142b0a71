//! An entry in the audit log: its actor, its action and outcome, and the object, account and team that it concerns.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use entity::{
    account, api_key,
    api_key::Role,
    audit_entry::{self, AuditAction, AuditActor, AuditOutcome},
};
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    app::App,
    db::Scope,
    domain::{
        Fault,
        caller::{AccountCaller, Caller, LiveAccountCaller, LiveMainCaller, OperatorCaller},
    },
    money::Micros,
};

/// The text that replaces metadata in an entry.
const NOT_SHOWN: &str = "(not shown)";

/// The actor that made a call: an API key, or the command line.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    pub(super) kind: AuditActor,
    pub(super) team_id: Option<Uuid>,
    pub(super) key_id: Option<Uuid>,
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
        Self { kind, team_id, key_id, account_id }
    }

    /// Returns the scope of the rows that the actor may see.
    pub(super) fn scope(self) -> Scope {
        match (self.team_id, self.account_id) {
            (Some(team_id), Some(account_id)) => Scope::Account { team_id, account_id },
            _ => Scope::All,
        }
    }

    /// Creates the actor for an operator's key, or for the command line if there is no key.
    fn operator(key_id: Option<Uuid>) -> Self {
        let kind = if key_id.is_some() { AuditActor::Operator } else { AuditActor::CommandLine };
        Self { kind, team_id: None, key_id, account_id: None }
    }
}

/// Settings by their names in the API.
pub type Settings = BTreeMap<&'static str, Value>;

/// Converts an amount to the format of the API: exact cents.
pub fn cents(micros: i64) -> Value {
    let cents = Micros::from_db(micros).to_cents_text();
    Value::Number(cents.parse().expect("cents are written as a JSON number"))
}

/// Converts a time to the format of the API; null if there is no time.
pub fn moment(moment: Option<DateTime<Utc>>) -> Value {
    json!(moment.map(|moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true)))
}

/// An entry without its actor. The actor is added when the entry is written.
#[must_use]
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
    /// Creates the entry for a completed call. By default, the entry concerns the actor's team. It also concerns the
    /// actor's account if the actor is a sub-account or the action changes an object that an account owns.
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

    /// Sets the target of the call.
    pub(super) fn about(mut self, target_id: Uuid) -> Self {
        self.target_id = Some(target_id);
        self
    }

    /// Sets the account and the team that the entry concerns.
    pub fn to(mut self, account: &account::Model) -> Self {
        self.account = Some(Concerned { id: account.id, is_sub_account: account.is_sub_account });
        self.to_team(account.team_id)
    }

    /// Sets the account that the entry concerns to the account of this key. An operator's key has no account.
    pub fn to_key(mut self, key: &api_key::Model) -> Self {
        let is_sub_account = key.role == Role::SubAccount;
        self.account = key.account_id.map(|id| Concerned { id, is_sub_account });
        self.team_id = key.team_id;
        self
    }

    /// Sets the team that the entry concerns.
    pub fn to_team(mut self, team_id: Uuid) -> Self {
        self.team_id = Some(team_id);
        self
    }

    /// Returns the account that the entry concerns, or else the team.
    pub(super) fn concerns(&self) -> Option<Uuid> {
        self.account.map(|account| account.id).or(self.team_id)
    }

    /// Sets the outcome to refused, with this error code.
    pub(super) fn refused(mut self, code: &str) -> Self {
        (self.outcome, self.code) = (AuditOutcome::Refused, Some(code.to_owned()));
        self
    }

    /// Sets the outcome to replayed: an earlier call with the same idempotency key made the change, so this call
    /// changed nothing.
    pub fn replayed(mut self) -> Self {
        self.outcome = AuditOutcome::Replayed;
        self
    }

    /// Records the settings of a created object. Settings that are null are omitted.
    pub fn made(self, after: Settings) -> Self {
        self.changed(Settings::new(), after)
    }

    /// Records the settings before and after a change. Unchanged settings are omitted, and the content of metadata is
    /// not shown.
    pub fn changed(mut self, mut before: Settings, mut after: Settings) -> Self {
        let differs_from = |other: Settings| {
            move |name: &&'static str, value: &mut Value| {
                other.get(name).unwrap_or(&Value::Null) != value
            }
        };
        let (unlike_before, unlike_after) = (before.clone(), after.clone());
        before.retain(differs_from(unlike_after));
        after.retain(differs_from(unlike_before));
        for settings in [&mut before, &mut after] {
            if let Some(metadata) = settings.get_mut("metadata").filter(|value| !value.is_null()) {
                *metadata = json!(NOT_SHOWN);
            }
        }
        (self.before, self.after) = (before, after);
        self
    }

    fn row(self, app: &App, by: Actor) -> audit_entry::Model {
        let is_own_work = self.action.is_own_work();
        let is_sub_account = by.kind == AuditActor::SubAccount;
        // A sub-account can only act on its own account, so its refused calls concern that account too.
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
            request_id: app.request_id().map(str::to_owned),
            count: 1,
            created_at: app.clock.now(),
        }
    }

    /// Writes the entry for this actor's call, and returns the entry's id.
    pub(super) async fn write<C: ConnectionTrait>(
        self,
        app: &App,
        by: Actor,
        db: &C,
    ) -> Result<Uuid, Fault> {
        let row = self.row(app, by);
        let id = row.id;
        audit_entry::Entity::insert(row.into_active_model()).exec_without_returning(db).await?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_named_like_their_mutations() {
        assert_eq!(AuditAction::of_mutation("topUpTeam"), Some(AuditAction::TopUpTeam));
        assert_eq!(AuditAction::of_mutation("createApiKey"), Some(AuditAction::CreateApiKey));
        assert_eq!(AuditAction::of_mutation("TOP_UP_TEAM"), None);
        assert_eq!(AuditAction::of_mutation("sendMessage"), None);
    }

    /// Unchanged settings are omitted. Metadata is not shown, unless it is null.
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
