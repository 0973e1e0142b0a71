//! Events about committed changes, for subscriptions on all processes.
//!
//! A change is [published](Events::publish) after its commit. Changes are collected for a moment and then sent to the
//! listeners of their team. Listeners in the same process receive them directly. Other processes that use the same
//! `PostgreSQL` receive them by `NOTIFY` (`postgres`).
//!
//! An event contains the ids of the changed rows, never their data: the listener reads the rows with its own
//! permissions. Every two seconds the teams with listeners are polled for changes to money and settings that were not
//! published, such as changes made on the command line. A change to a message can be lost if `NOTIFY` fails. The next
//! change to the message is published normally.

use sea_orm::DbBackend;

use crate::app::App;

mod hub;
mod polling_fallback;
mod postgres;

pub use hub::{Change, Changed, Event, Events, Listener, ReceivedEvent, Turn, turns_of_team};

/// Publishes collected changes and polls for changes that were not published, forever.
pub async fn run(app: &App) {
    let across_processes = async {
        if app.db.backend() == DbBackend::Postgres {
            postgres::run(app).await;
        }
    };
    tokio::join!(hub::publish_collected(app), across_processes, polling_fallback::run(app));
}
