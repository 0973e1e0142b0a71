//! `tollgate serve`: runs the API and the worker in one process.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::{ArgAction, Args};
use sea_orm::{ConnectionTrait as _, DbBackend};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    DatabaseArgs, RowSecurityArgs, connect,
    database::{check_url, open},
    display_name, ensure_current,
    http_args::{HttpArgs, ListenArgs},
    set_up_row_security, switch,
};
use crate::{
    app::App,
    carrier::{Carrier, Carriers, sandbox::Sandbox},
    clock::SystemClock,
    db::{Db, RowSecurity, Scope, exposed, lock_for_serving, row_security},
    domain::{caller::OperatorCaller, page::PageArgs, team},
    http, time_zone,
    worker::{self, ClockWatch},
};

#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// Use the sandbox carrier: LIVE messages are accepted on every channel and delivered to nobody.
    #[arg(long, env = "TOLLGATE_SANDBOX", action = ArgAction::SetTrue, value_parser = switch)]
    sandbox: bool,
    /// PostgreSQL: update the database schema at startup. SQLite is always updated.
    #[arg(long, env = "TOLLGATE_MIGRATE", action = ArgAction::SetTrue, value_parser = switch)]
    migrate: bool,
    #[command(flatten)]
    row_security: RowSecurityArgs,
    #[command(flatten)]
    http: HttpArgs,
}

/// Maximum duration of the whole shutdown.
const STOP_DEADLINE: Duration = Duration::from_millis(9_800);

pub async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let listener = args.listen.bind()?;
    let metrics = args.http.bind_metrics().await?;
    let url = args.database.url()?;
    check_url(&url)?;
    let _serving = lock_for_serving(&url)?;
    let db = connect(&url, args.database.database_connections).await?;
    warn_of_exposed_files(&url);
    ensure_current(&db, args.migrate).await?;
    if db.backend() == DbBackend::Postgres
        && !args.row_security.row_security
        && let Some(table) = row_security::unwritable(&db.write).await?
    {
        bail!(
            "the user of the database URL may not read and change the table {table}. Make it the owner of the \
             database, or grant it SELECT, INSERT, UPDATE and DELETE on all tables"
        );
    }
    let db = if args.row_security.row_security {
        secured(db, &url, args.database.database_connections, args.migrate).await?
    } else {
        db
    };
    let carriers = if args.sandbox {
        Carriers::all(&(Arc::new(Sandbox) as Arc<dyn Carrier>))
    } else {
        Carriers::none()
    };
    let (app, key_uses) = App::new(db, Arc::new(SystemClock), carriers);

    let operator = OperatorCaller::on_the_command_line();
    let one = PageArgs { first: Some(1), ..PageArgs::default() };
    if team::list(&app, &operator, &one).await?.rows.is_empty() {
        eprintln!(
            "No team exists yet. Create one, with its first API key:\n  \
             tollgate team create --name \"My team\" --top-up 50000{}",
            args.database.as_arguments()
        );
    }
    if !args.sandbox {
        tracing::warn!(
            "No carrier is configured: LIVE messages are refused with CHANNEL_UNAVAILABLE. \
             With --sandbox they are accepted and delivered to nobody"
        );
    }
    tracing::info!("The database is {}", display_name(&url));
    tracing::info!("Time zone database: IANA {}", time_zone::version());
    tracing::info!("GraphQL is served at http://{}/graphql", listener.local_addr()?);
    if let Some(metrics) = metrics {
        tracing::info!("Metrics are served at http://{}/metrics", metrics.local_addr()?);
        tokio::spawn(http::ops::metrics::serve(metrics, Arc::clone(&app)));
    }
    let settings = args.http.settings(args.sandbox);
    Box::pin(serve_until_stopped(listener, app, settings, key_uses)).await
}

/// Warns about database files that other users may access, such as copies or files that an earlier version created.
pub fn warn_of_exposed_files(url: &str) {
    for file in exposed(url) {
        let file = file.display();
        tracing::warn!(
            "Other users of this machine may read or write {file}. Run: chmod 600 {file}"
        );
    }
}

/// Opens the database again, with row security. If row security has not been set up, sets it up first if `may_set_up`
/// is true, and fails otherwise.
async fn secured(db: Db, url: &str, connections: u32, may_set_up: bool) -> anyhow::Result<Db> {
    let missing = match db.backend() {
        DbBackend::Postgres => row_security::missing(&db.read).await?,
        _ => Vec::new(),
    };
    if db.backend() != DbBackend::Postgres || may_set_up && !missing.is_empty() {
        set_up_row_security(&db).await?;
    } else if !missing.is_empty() {
        bail!(
            "row security is not set up on {}; run `tollgate migrate --row-security` with the same database URL first",
            missing.join(", ")
        );
    }
    db.close().await?;
    let db = open(url, connections, RowSecurity::On).await?;
    // Checks that row security works, so that a failure occurs now instead of at the first request.
    let nobody = Scope::Account { team_id: Uuid::nil(), account_id: Uuid::nil() };
    let reading = db.read.within(nobody).execute_unprepared("SELECT 1").await;
    reading.context(
        "the login may not read as tollgate_server; as a database administrator, run: \
         GRANT tollgate_server TO <login>",
    )?;
    Ok(db)
}

/// Runs the API and the worker until SIGTERM or SIGINT, and then finishes the work in progress.
pub async fn serve_until_stopped(
    listener: TcpListener,
    app: Arc<App>,
    settings: http::Settings,
    key_uses: mpsc::Receiver<Uuid>,
) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let stop_worker = CancellationToken::new();
    let watch = ClockWatch::of_machine(&*app.clock);
    let working = worker::run(Arc::clone(&app), key_uses, watch, stop_worker.clone());
    let mut working = tokio::spawn(working);
    tokio::spawn(stop_on_signal(stop.clone()));
    let stopping = stop.clone();
    let mut late = tokio::spawn(async move {
        stopping.cancelled().await;
        sleep(STOP_DEADLINE).await;
    });

    tokio::select! {
        () = http::serve(listener, Arc::clone(&app), settings, stop) => {}
        // The process ends, because a server that accepts messages without delivering them should be restarted.
        _ = &mut working => bail!("the worker failed"),
    }
    let finish = async {
        app.writers.close().await;
        stop_worker.cancel();
        working.await.context("the worker failed")?;
        app.db.close().await?;
        anyhow::Ok(())
    };
    tokio::select! {
        finished = finish => finished?,
        // Stopping early is safe, because everything that was acknowledged is on disk, as it is after a crash.
        _ = &mut late => tracing::warn!("Stopping before all work in progress has finished"),
    }
    tracing::info!("Stopped");
    Ok(ExitCode::SUCCESS)
}

async fn stop_on_signal(stop: CancellationToken) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        tracing::warn!("Signals cannot be handled; the server stops only when it is killed");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Stopping: waiting for requests in progress");
    stop.cancel();
}
