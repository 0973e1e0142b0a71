//! The team's lock: its row, locked until the transaction ends. It serialises everything that moves money or
//! changes a limit, a status or a key of the team.

use std::collections::BTreeSet;

use entity::team;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use crate::{db::has_id, domain::Fault};

/// Locks the team until the transaction ends and gives its row as of then; `None` if there is none.
pub async fn lock_team(
    txn: &DatabaseTransaction,
    team_id: Uuid,
) -> Result<Option<team::Model>, Fault> {
    Ok(team::Entity::find_by_id(team_id).lock_exclusive().one(txn).await?)
}

/// Locks several teams, in id order, until the transaction ends.
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
