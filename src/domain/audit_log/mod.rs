//! The audit log: every call that manages something, moves money or changes what an account owns, with who
//! made it and what came of it. Messages are not in it, for they tell of themselves.
//!
//! What is done is entered in the transaction that does it: changes begin with one of the functions of
//! [`authentication`](super::api_key::authentication), which give an
//! [`AuditedTransaction`](transaction::AuditedTransaction), and that cannot be committed without
//! an [`Entry`]. What is refused is entered once that is known, in a write of its own
//! ([`audit_call`]), by the root of all mutations or by a command. Refusals that repeat are
//! counted ([`audit_refusals`](refusals)).
//!
//! An entry holds ids, numbers and settings, never a key, a hash, a text of a message, an address, or anything
//! else of a contact; of metadata it says only that it changed. An entry about what a sub-account did with
//! what it owns is private (R3): operators see it, its main account does not.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use chrono::{DateTime, SecondsFormat, Utc};
use entity::{
    account, api_key,
    api_key::Role,
    audit_entry::{self, AuditAction, AuditActor, AuditOutcome},
};
use sea_orm::{ActiveEnum, ConnectionTrait, EntityTrait, IntoActiveModel, Iterable};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Fault,
    caller::{AccountCaller, Caller, LiveAccountCaller, LiveMainCaller, OperatorCaller},
};
use crate::{app::App, db::Scope, money::Micros};

pub mod list;
pub mod refusals;
pub mod request_context;
pub mod transaction;

/// What stands in an entry instead of metadata.
const NOT_SHOWN: &str = "(not shown)";

/// What a mutation of this name is entered as; `None` if it is not.
pub fn action_of(mutation: &str) -> Option<AuditAction> {
    static ACTIONS: LazyLock<HashMap<String, AuditAction>> = LazyLock::new(|| {
        AuditAction::iter().map(|action| (mutation_name(&action.to_value()), action)).collect()
    });
    ACTIONS.get(mutation).copied()
}

/// `CREATE_TEAM` is `createTeam`.
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
        | Action::RemoveOptOut
        | Action::PurchasePhoneNumber
        | Action::UpdatePhoneNumber
        | Action::ReleasePhoneNumber
        | Action::CreateSender
        | Action::UpdateSender
        | Action::DeleteSender
        | Action::CreateTemplate
        | Action::UpdateTemplate
        | Action::DeleteTemplate => true,
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
        | Action::ImportPrices
        | Action::TransferPhoneNumber
        | Action::ImportPhoneNumbers
        | Action::WithdrawPhoneNumber => false,
    }
}

/// Who acts.
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

    /// What the actor may see.
    pub(super) fn scope(self) -> Scope {
        match (self.team_id, self.account_id) {
            (Some(team_id), Some(account_id)) => Scope::Account { team_id, account_id },
            _ => Scope::All,
        }
    }

    /// Without a key, on the command line.
    fn operator(key_id: Option<Uuid>) -> Self {
        let kind = if key_id.is_some() { AuditActor::Operator } else { AuditActor::CommandLine };
        Self { kind, team_id: None, key_id, account_id: None }
    }
}

/// Settings by name, as the API calls them.
pub type Settings = BTreeMap<&'static str, Value>;

/// An amount as the API writes it: cents, exactly.
pub fn cents(micros: i64) -> Value {
    let cents = Micros::from_db(micros).to_cents_text();
    Value::Number(cents.parse().expect("cents are written as a JSON number"))
}

/// A moment as the API writes it; null for none.
pub fn moment(moment: Option<DateTime<Utc>>) -> Value {
    json!(moment.map(|moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true)))
}

/// What is entered of a call, besides who made it.
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

    /// This is what it was done to, or was to be.
    pub(super) fn about(mut self, target_id: Uuid) -> Self {
        self.target_id = Some(target_id);
        self
    }

    /// It concerns this account.
    pub fn to(mut self, account: &account::Model) -> Self {
        self.account = Some(Concerned { id: account.id, is_sub_account: account.is_sub_account });
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

    /// The account that it was said to concern, or else the team.
    pub(super) fn concerns(&self) -> Option<Uuid> {
        self.account.map(|account| account.id).or(self.team_id)
    }

    /// It was refused with this code.
    pub(super) fn refused(mut self, code: String) -> Self {
        (self.outcome, self.code) = (AuditOutcome::Refused, Some(code));
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
            request_id: request_context::request_id(),
            count: 1,
            created_at: app.clock.now(),
        }
    }

    /// Writes it, of this actor's call, and gives its id.
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
        assert_eq!(action_of("topUpTeam"), Some(AuditAction::TopUpTeam));
        assert_eq!(action_of("createApiKey"), Some(AuditAction::CreateApiKey));
        assert_eq!(action_of("TOP_UP_TEAM"), None);
        assert_eq!(action_of("sendMessage"), None);
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
