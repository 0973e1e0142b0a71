//! What has changed, told to whoever listens, on every process.
//!
//! After its commit a change is [told](Events::tell). What is told is gathered for a moment and then goes
//! to the listeners of its team: here at once, and by `NOTIFY` to those of other processes on the same
//! `PostgreSQL` (`postgres`). Nobody's listening costs a change next to nothing: processes tell each other
//! which teams they listen to.
//!
//! News say where to look, never what is there: who listens reads the rows, as far as it may see them. Every
//! two seconds the teams that are listened to are looked at for changes of money and settings that nobody
//! told, such as those of the command line. A message's change that another process could not tell, because it
//! did not know yet who listens or the database did not take its letter, is not made up for: its next one
//! is told.

use sea_orm::DbBackend;

use crate::app::App;

mod hub;
mod polling_fallback;
mod postgres;
pub(in crate::domain) mod shared_read;

pub use hub::{Change, Changed, Event, Events, Heard, Listener, Turn, turns_of_team};

/// Tells what is gathered, and looks for what nobody told, for ever.
pub async fn run(app: &App) {
    let across = async {
        if app.db.backend() == DbBackend::Postgres {
            postgres::run(app).await;
        }
    };
    tokio::join!(hub::publish_gathered(app), across, polling_fallback::run(app));
}
