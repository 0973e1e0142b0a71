//! A full disk: sends fail with a code that says so, nothing acknowledged is lost, and service comes
//! back with the space, without a restart of the server. A small disk is mounted, which root may.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use db_test::needs_postgres;
use rstest::rstest;

use crate::{
    eventually,
    folder::Folder,
    load::{Attempt, Journal, Load, Outcome},
    postgres::{Postgres, SMALL_SEGMENTS},
    say, scale,
    stage::Stage,
};

const SENDERS: usize = 8;
/// Long texts, so that a disk fills soon.
const TEXT_CHARS: usize = 1_400;
/// How long a database may take to use up the room that it has laid aside.
const FULL_WITHIN: Duration = Duration::from_mins(1);

/// The code that a failed send must have: something can be done about it, and the caller is not it.
const NAMED: &str = "UNAVAILABLE";

/// The file that takes all the room.
struct Filler(PathBuf);

impl Filler {
    fn fill(disk: &Path) -> Self {
        let path = disk.join("filler");
        let mut file = File::create(&path).expect("the disk is there");
        for size in [1 << 20, 1 << 12, 1] {
            let bytes = vec![b'x'; size];
            let error = loop {
                if let Err(error) = file.write_all(&bytes) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        Self(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).expect("it is ours");
    }
}

/// A disk in the folder; `None`, loudly, where none may be mounted.
fn disk(folder: &Folder, mebibytes: u32) -> Option<PathBuf> {
    let disk = folder.mount(mebibytes);
    if disk.is_none() {
        say("FULL DISK SKIPPED: a small disk cannot be mounted; run it as root.");
    }
    disk
}

/// Lets the load run against the full disk; returns when enough sends have failed.
async fn fails(load: &Load) {
    let enough = scale(SENDERS, 3 * SENDERS);
    eventually(FULL_WITHIN, "sends fail on a full disk", async || {
        load.count(|outcome| !outcome.is_acknowledged()) >= enough
    })
    .await;
}

/// How many attempts failed, and in what other way than with the named code.
fn failures(attempts: &[Attempt]) -> (usize, BTreeSet<String>) {
    let failed = attempts.iter().filter(|attempt| !attempt.outcome.is_acknowledged());
    let odd = failed.clone().filter_map(|attempt| match &attempt.outcome {
        Outcome::Failed(code) if code == NAMED => None,
        outcome => Some(format!("{outcome:?}")),
    });
    (failed.count(), odd.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_sends_and_not_reads_on_sqlite() {
    let folder = Folder::new();
    let Some(disk) = disk(&folder, 64) else { return };
    let url = tollgate::db::sqlite_url(&disk.join("tollgate.db"));
    let mut stage = Stage::stand(folder, None, url.clone(), url, 8).await;
    let mut journal = Journal::default();

    for round in 0..scale(1, 3) {
        let name = format!("round-{round}");
        let load = Load::start(stage.server.address, &stage.keys, &name, SENDERS, TEXT_CHARS);
        let deadline = Duration::from_secs(20);
        eventually(deadline, "the load is on", async || load.acknowledged() > SENDERS).await;
        let filler = Filler::fill(&disk);
        fails(&load).await;
        assert!(stage.reads().await, "reads work on a full disk");
        assert_eq!(stage.server.readiness().await, Some(200), "what can read is ready");

        filler.remove();
        let whole = stage.is_whole_again(&mut journal, "service is back with the space").await;
        let attempts = load.stop().await;
        let (failed, odd) = failures(&attempts);
        journal.note(attempts);
        assert!(stage.reads().await);
        let messages = stage.check(&mut journal).await;
        say(&format!(
            "full disk, Sqlite: {failed} sends failed, {messages} messages, whole again \
             {whole:?} after the space"
        ));
        assert!(odd.is_empty(), "on a full disk a send fails with {NAMED}, not {odd:?}");
    }
}

/// What of PostgreSQL is on the disk that fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDisk {
    All,
    WriteAheadLog,
}

#[needs_postgres]
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_postgres_is_unavailable_and_passes(
    #[values(OnDisk::All, OnDisk::WriteAheadLog)] on_disk: OnDisk,
) {
    let folder = Folder::new();
    let size = if on_disk == OnDisk::All { 96 } else { 24 };
    let Some(disk) = disk(&folder, size) else { return };
    let database = match on_disk {
        OnDisk::All => Postgres::start(&folder.path, disk.join("data"), None, SMALL_SEGMENTS).await,
        OnDisk::WriteAheadLog => {
            let wal = disk.join("wal");
            Postgres::start(&folder.path, folder.path.join("data"), Some(&wal), SMALL_SEGMENTS)
                .await
        }
    };
    let url = database.url();
    let mut stage = Stage::stand(folder, Some(database), url.clone(), url, 8).await;
    let mut journal = Journal::default();

    for round in 0..scale(1, 3) {
        let name = format!("round-{round}");
        let load = Load::start(stage.server.address, &stage.keys, &name, SENDERS, TEXT_CHARS);
        let deadline = Duration::from_secs(20);
        eventually(deadline, "the load is on", async || load.acknowledged() > SENDERS).await;
        let filler = Filler::fill(&disk);
        fails(&load).await;

        filler.remove();
        let postgres = stage.postgres.as_mut().expect("it was started");
        let has_ended = !postgres.is_running();
        postgres.run().await;
        let whole = stage.is_whole_again(&mut journal, "service is back with the database").await;
        let attempts = load.stop().await;
        let (failed, odd) = failures(&attempts);
        journal.note(attempts);
        let messages = stage.check(&mut journal).await;
        let database = if has_ended { "which stopped" } else { "which went on" };
        say(&format!(
            "full disk, Postgres, {on_disk:?}, {database}: {failed} sends failed, \
             {messages} messages, whole again {whole:?} after space and database"
        ));
        assert!(odd.is_empty(), "on a full disk a send fails with {NAMED}, not {odd:?}");
    }
}
