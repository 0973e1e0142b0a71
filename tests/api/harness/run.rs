//! The setup and teardown of each test. Every app of a test is started here and checked after the test, so no test can
//! omit the check of balances and totals. Only [`run_test`] creates an [`Apps`], and only an [`Apps`] starts a
//! [`TestApp`].

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::TimeDelta;
use db_test::db_test;

use super::{Database, Setup, TestApp};

/// Starts apps on the database of the test.
pub struct Apps {
    pub database: Database,
    started: Arc<Started>,
}

/// The apps of one test, in the order in which they were started.
#[derive(Default)]
pub struct Started(Mutex<Vec<Arc<TestApp>>>);

impl Started {
    pub fn add(&self, app: TestApp) -> Arc<TestApp> {
        let app = Arc::new(app);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&app));
        app
    }

    fn take(&self) -> Vec<Arc<TestApp>> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Apps {
    pub async fn start(&self) -> Arc<TestApp> {
        self.start_with(Setup::default()).await
    }

    pub async fn start_with(&self, setup: Setup) -> Arc<TestApp> {
        TestApp::start(&self.started, self.database, setup).await
    }
}

/// Runs a test, then [closes](TestApp::close) each app that the test started.
pub async fn run_test(database: Database, test: impl AsyncFnOnce(&Apps)) {
    let apps = Apps { database, started: Arc::default() };
    test(&apps).await;
    for app in apps.started.take() {
        assert_eq!(Arc::strong_count(&app), 1, "a task of the test still runs");
        app.close().await;
    }
}

/// This test does nothing except make a balance wrong.
#[db_test]
#[should_panic(expected = "balances or totals contradict the ledger")]
async fn a_test_fails_if_a_balance_contradicts_the_ledger(t: &TestApp) {
    t.team(100).await;
    t.execute("UPDATE team SET balance_micros = balance_micros + 1").await;
}

/// Only a balance in the second app's database is wrong.
#[db_test]
#[should_panic(expected = "balances or totals contradict the ledger")]
async fn each_app_of_a_test_is_checked(apps: &Apps) {
    apps.start().await;
    let t = apps.start_with(Setup::default()).await;
    t.team(100).await;
    t.execute("UPDATE team SET balance_micros = balance_micros + 1").await;
}

#[db_test]
#[should_panic(expected = "a task of the test still runs")]
async fn a_test_fails_if_one_of_its_tasks_still_runs(t: &Arc<TestApp>) {
    let t = Arc::clone(t);
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        t.step(TimeDelta::seconds(1));
    });
}
