//! A full disk: sends fail with a documented code, no acknowledged message is lost, and the server recovers without a
//! restart when the disk has free space again. The tests mount a small disk, which needs root.

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
    fixture::Fixture,
    folder::Folder,
    load::{Attempt, Journal, Load, Outcome},
    postgres::{Postgres, SMALL_SEGMENTS},
    report, scale,
};

const SENDERS: usize = 8;
/// Length of each message's text. It is long, so that the disk fills up quickly.
const TEXT_CHARS: usize = 1_400;
/// Maximum time until sends fail on a full disk. A database first uses the space that it has already allocated.
const FULL_WITHIN: Duration = Duration::from_mins(1);

/// The error code of a failed send. The code means that the fault is temporary and not caused by the caller.
const EXPECTED_CODE: &str = "UNAVAILABLE";

/// A file that uses all free space.
struct Filler(PathBuf);

impl Filler {
    fn fill(disk: &Path) -> Self {
        let path = disk.join("filler");
        let mut file = File::create(&path).expect("the disk is mounted");
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
        std::fs::remove_file(self.0).expect("the file can be removed");
    }
}

/// Mounts a disk in the folder. If the process has no permission to mount a disk, prints a line and returns `None`.
fn disk(folder: &Folder, mebibytes: u32) -> Option<PathBuf> {
    let disk = folder.mount(mebibytes);
    if disk.is_none() {
        report("FULL DISK SKIPPED: a small disk cannot be mounted; run it as root.");
    }
    disk
}

/// Waits until enough sends have failed on the full disk.
async fn wait_for_failures(load: &Load) {
    let enough = scale(SENDERS, 3 * SENDERS);
    eventually(FULL_WITHIN, "sends fail on a full disk", async || {
        load.count(|outcome| !outcome.is_acknowledged()) >= enough
    })
    .await;
}

/// Returns the number of failed attempts, and the outcomes other than the expected code.
fn failures(attempts: &[Attempt]) -> (usize, BTreeSet<String>) {
    let failed = attempts.iter().filter(|attempt| !attempt.outcome.is_acknowledged());
    let unexpected = failed.clone().filter_map(|attempt| match &attempt.outcome {
        Outcome::Failed(code) if code == EXPECTED_CODE => None,
        outcome => Some(format!("{outcome:?}")),
    });
    (failed.count(), unexpected.collect())
}

/// Sends messages, and fills the disk so that they fail.
async fn send_until_full(fixture: &Fixture, disk: &Path, round: usize) -> (Load, Filler) {
    let name = format!("round-{round}");
    let load = Load::start(fixture.server.address, &fixture.keys, &name, SENDERS, TEXT_CHARS);
    let deadline = Duration::from_secs(20);
    eventually(deadline, "sends are acknowledged", async || load.acknowledged() > SENDERS).await;
    let filler = Filler::fill(disk);
    wait_for_failures(&load).await;
    (load, filler)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_sqlite_disk_sends_fail_and_reads_work() {
    let folder = Folder::new();
    let Some(disk) = disk(&folder, 64) else { return };
    let url = tollgate::db::sqlite_url(&disk.join("tollgate.db"));
    let mut fixture = Fixture::with_database(folder, None, url.clone(), url, 8).await;
    let mut journal = Journal::default();

    for round in 0..scale(1, 3) {
        let (load, filler) = send_until_full(&fixture, &disk, round).await;
        assert!(fixture.reads().await, "reads work on a full disk");
        assert_eq!(fixture.server.readiness().await, Some(200), "a server that can read is ready");

        filler.remove();
        let recovered = fixture
            .wait_for_recovery(&mut journal, "the server recovers after the disk has space")
            .await;
        let attempts = load.stop().await;
        let (failed, unexpected) = failures(&attempts);
        journal.note(attempts);
        assert!(fixture.reads().await);
        let messages = fixture.check(&mut journal).await;
        report(&format!(
            "full disk, Sqlite: {failed} sends failed, {messages} messages, recovered \
             {recovered:?} after the disk had space"
        ));
        assert!(
            unexpected.is_empty(),
            "on a full disk a send fails with {EXPECTED_CODE}, not {unexpected:?}"
        );
    }
}

/// The part of PostgreSQL that is on the full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDisk {
    All,
    WriteAheadLog,
}

#[needs_postgres]
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_recovers_from_a_full_postgres_disk(
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
    let mut fixture = Fixture::with_database(folder, Some(database), url.clone(), url, 8).await;
    let mut journal = Journal::default();

    for round in 0..scale(1, 3) {
        let (load, filler) = send_until_full(&fixture, &disk, round).await;

        filler.remove();
        let postgres = fixture.postgres.as_mut().expect("it was started");
        let has_ended = !postgres.is_running();
        postgres.run().await;
        let recovered =
            fixture.wait_for_recovery(&mut journal, "the server recovers after the database").await;
        let attempts = load.stop().await;
        let (failed, unexpected) = failures(&attempts);
        journal.note(attempts);
        let messages = fixture.check(&mut journal).await;
        let database = if has_ended { "which stopped by itself" } else { "which kept running" };
        report(&format!(
            "full disk, Postgres, {on_disk:?}, {database}: {failed} sends failed, \
             {messages} messages, recovered {recovered:?} after the database"
        ));
        assert!(
            unexpected.is_empty(),
            "on a full disk a send fails with {EXPECTED_CODE}, not {unexpected:?}"
        );
    }
}
