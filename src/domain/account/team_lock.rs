//! The team's lock is a lock on its row until the transaction ends. It serializes all changes to money, limits,
//! statuses and keys of the team.

use std::collections::BTreeSet;

use entity::team;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use crate::{db::has_id, domain::Fault};

/// Locks the team until the transaction ends, and returns the team's row; `None` if the team does not exist.
pub async fn lock_team(
    txn: &DatabaseTransaction,
    team_id: Uuid,
) -> Result<Option<team::Model>, Fault> {
    Ok(team::Entity::find_by_id(team_id).lock_exclusive().one(txn).await?)
}

/// Locks several teams until the transaction ends. They are locked in the order of their ids.
pub async fn lock_teams(
    txn: &DatabaseTransaction,
    teams: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<team::Model>, Fault> {
    let teams: BTreeSet<Uuid> = teams.into_iter().collect();
    if teams.is_empty() {
        return Ok(Vec::new());
    }
    let teams = team::Entity::find().filter(has_id(txn.get_database_backend(), teams));
    Ok(teams.order_by_asc(team::Column::Id).lock_exclusive().all(txn).await?)
}
