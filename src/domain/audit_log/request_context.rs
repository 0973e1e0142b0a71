//! A call from its beginning to its answer, as the audit log sees it: under which request it is made, and that
//! it was refused.

use std::{cell::RefCell, fmt::Debug};

use entity::{
    api_key,
    audit_entry::{AuditAction, AuditActor},
    team,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::{Actor, Entry};
use crate::{
    app::App,
    db::Readers,
    domain::{Fault, account::AccountRef},
};

tokio::task_local! {
    static CALL: Call;
}

/// The call that is under way.
struct Call {
    request_id: String,
    /// The code by which it was refused.
    refusal: RefCell<Option<String>>,
}

/// The id of the request that the call came with; none on the command line.
pub(in crate::domain) fn request_id() -> Option<String> {
    CALL.try_with(|call| call.request_id.clone()).ok()
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

/// `ExternalIdTaken` is `EXTERNAL_ID_TAKEN`.
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

/// What the arguments of a refused call named.
#[derive(Debug, Default)]
pub struct Named {
    pub id: Option<Uuid>,
    pub account: Option<AccountRef>,
}

/// Enters that a call was refused with this code, or counts it in the entry of the call before it that was refused
/// alike ([`audit_refusals`](super::refusals)). Nothing was changed by it.
pub async fn enter_refusal(
    app: &App,
    by: impl Into<Actor>,
    action: AuditAction,
    code: String,
    named: Named,
) -> Result<(), Fault> {
    let by = by.into();
    let mut entry = Entry::of(action, named.id).refused(code.clone());
    // Within the turns of the team: a flood of refused calls reads like any other.
    let readers = app.read_as(by.scope());
    match (by.kind, by.team_id) {
        (AuditActor::MainAccount, Some(team_id)) => {
            if let Some(account) = &named.account {
                entry = naming(&readers, team_id, account, entry).await?;
            } else if is_of_a_key(action)
                && let Some(key) = find_key(&readers, team_id, named.id).await?
            {
                entry = entry.to_key(&key);
            }
        }
        (AuditActor::Operator | AuditActor::CommandLine, _) => {
            let team = team::Entity::find_by_id(named.id.unwrap_or_default());
            if let Some(team) = team.one(&readers).await? {
                entry = entry.to_team(team.id);
            }
        }
        _ => {}
    }
    let first = match by.key_id {
        // A command is a process of its own: nothing repeats in it.
        None => None,
        Some(key_id) => {
            let target = entry.concerns();
            match app.refusals.count(key_id, action, &code, target, app.clock.now()) {
                None => return Ok(()),
                first => first,
            }
        }
    };
    let _slot = app.db.write_slot(by.scope()).await?;
    let id = entry.write(app, by, &app.db.write).await?;
    if let Some(first) = first {
        first.entered(id);
    }
    Ok(())
}

/// The account of the team that was named is what the call was about, if there is one.
async fn naming(
    readers: &Readers,
    team_id: Uuid,
    account: &AccountRef,
    entry: Entry,
) -> Result<Entry, Fault> {
    Ok(match (account.find_in(team_id, readers).await?, account) {
        (Some(found), _) => entry.about(found.id).to(&found),
        (None, AccountRef::Id(id)) => entry.about(*id),
        (None, _) => entry,
    })
}

fn is_of_a_key(action: AuditAction) -> bool {
    use AuditAction as Action;
    matches!(action, Action::UpdateApiKey | Action::RotateApiKey | Action::RevokeApiKey)
}

async fn find_key(
    readers: &Readers,
    team_id: Uuid,
    id: Option<Uuid>,
) -> Result<Option<api_key::Model>, Fault> {
    let Some(id) = id else { return Ok(None) };
    let key = api_key::Entity::of_team(team_id).filter(api_key::Column::Id.eq(id));
    Ok(key.one(readers).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::team::sub_account::CreateSubAccountRefusal;

    #[test]
    fn a_code_is_named_as_in_the_api() {
        assert_eq!(code_name(&CreateSubAccountRefusal::ExternalIdTaken), "EXTERNAL_ID_TAKEN");
    }
}
