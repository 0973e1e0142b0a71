//! The errors that commands report if PostgreSQL refuses the connection, if a privilege is missing, or if the schema is
//! not current.

use db_test::db_test;

use super::{failure, stdout, tollgate};
use crate::harness::{self, Apps, Postgres, Setup, Sqlite, TestApp};

#[db_test]
async fn a_schema_that_is_not_current_is_reported_with_the_command_to_run(apps: &Apps) {
    use migration::MigratorTrait as _;
    let t = apps.start_with(Setup::of_owner()).await;
    let list = || tollgate(&t.url, &["team", "list"]);
    migration::Migrator::down(&t.app.db.write, Some(1)).await.expect("the migration runs down");
    match apps.database {
        Sqlite => assert!(stdout(&list()).contains("No team exists yet")),
        Postgres => {
            let said = "the database's schema is not current; run `tollgate migrate` with the same database URL first";
            assert!(failure(&list()).1.contains(said));
        }
    }

    migration::Migrator::down(&t.app.db.write, None).await.expect("the migrations go down");
    let said = "has no Tollgate tables; run `tollgate migrate` with the same database URL first";
    assert!(failure(&list()).1.contains(said));
    stdout(&tollgate(&t.url, &["migrate"]));
    assert!(stdout(&list()).contains("No team exists yet"));
    assert!(t.app.db.is_current().await.expect("the database answers"));
}

#[db_test(postgres)]
async fn what_postgresql_refuses_to_a_login_is_reported_and_nothing_changes(t: &TestApp) {
    let (scheme, rest) = t.url.split_once("://").expect("a URL");
    let (_, address) = rest.split_once('@').expect("a login");
    let server = address.split('/').next().expect("a server");
    let name = address.split(['/', '?']).nth(1).expect("a database");
    // A login exists in all databases of a server. The name of this login contains the name of the database to make it
    // unique.
    let login = format!("limited_{name}");
    t.execute(&format!("CREATE ROLE {login} LOGIN PASSWORD 'a-password'")).await;
    let without_row_security = "DO $$ DECLARE name text; BEGIN \
         FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP \
         EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name); END LOOP; END $$";
    t.execute(without_row_security).await;
    let url = |password: &str, address: &str| format!("{scheme}://{login}:{password}@{address}");
    let before = t.everything().await;
    let refusal = |url: &str, command: &[&str]| {
        let (code, error) = failure(&tollgate(url, command));
        assert_eq!(code, Some(2), "{error}");
        assert!(!error.contains("a-password"), "{error}");
        error
    };

    let mine = url("a-password", address);
    for (command, denied) in [
        (&["migrate"][..], "permission denied for"),
        (&["team", "list"], "permission denied for table seaql_migrations"),
        (&["reconcile"], "permission denied for table seaql_migrations"),
        (
            &["serve", "--sandbox", "--listen", "127.0.0.1:0"],
            "permission denied for table seaql_migrations",
        ),
    ] {
        let error = refusal(&mine, command);
        assert!(error.contains(denied), "{command:?}: {error}");
        assert!(error.contains("or grant it the missing privilege"), "{command:?}: {error}");
    }
    t.execute(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {login}")).await;
    let error = refusal(&mine, &["team", "create", "--name", "Another"]);
    assert!(error.contains("permission denied for table"), "{error}");
    let error = refusal(&mine, &["serve", "--sandbox", "--listen", "127.0.0.1:0"]);
    assert!(error.contains("may not read and change the table account"), "{error}");

    let missing = url("a-password", &address.replacen(name, "nowhere", 1));
    let error = refusal(&missing, &["team", "list"]);
    assert!(error.contains(&format!("PostgreSQL at {server} has no database nowhere")), "{error}");
    // The check runs only on the PostgreSQL server that the tests start, because another server may not require a
    // password from this login.
    if std::env::var_os("TEST_DATABASE_URL").is_none() {
        t.execute(&format!("GRANT {} TO {login}", harness::PASSWORD_ROLE)).await;
        let error = refusal(&url("wrong", address), &["team", "list"]);
        let said = format!("PostgreSQL at {server} refused the password of {login}");
        assert!(error.contains(&said), "{error}");
    }

    assert_eq!(t.everything().await, before);
    t.execute(&format!("DROP OWNED BY {login}")).await;
    t.execute(&format!("DROP ROLE {login}")).await;
}
