//! Direct access to the database, bypassing the program.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use super::TestApp;

impl TestApp {
    /// Sets the price of an SMS segment to the United States, in micro-units.
    pub async fn set_sms_price(&self, micros: i64) {
        let sql = format!(
            "UPDATE price SET price_micros = {micros} WHERE channel = 'SMS' AND prefix = '1'"
        );
        self.execute(&sql).await;
    }

    /// Runs SQL as the owner of the tables, to prepare data or to plant a fault.
    pub async fn execute(&self, sql: &str) {
        self.owner.execute_unprepared(sql).await.expect("the statement runs");
        self.forget();
    }

    /// Plants a fault: updates of this column of the `message` table fail while at least this many messages meet the
    /// condition.
    pub async fn plant_failure_after(&self, column: &str, count: usize, condition: &str) {
        let is_after = format!("(SELECT COUNT(*) FROM message WHERE {condition}) >= {count}");
        let trigger = match self.app.db.backend() {
            DbBackend::Postgres => format!(
                "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
                 $$ BEGIN IF {is_after} THEN RAISE 'planted'; END IF; RETURN NEW; END $$; \
                 CREATE TRIGGER planted BEFORE UPDATE OF {column} ON message \
                 FOR EACH ROW EXECUTE FUNCTION planted()"
            ),
            _ => format!(
                "CREATE TRIGGER planted BEFORE UPDATE OF {column} ON message WHEN {is_after} \
                 BEGIN SELECT RAISE(ABORT, 'planted'); END"
            ),
        };
        self.execute(&trigger).await;
    }

    /// Removes the fault that [`Self::plant_failure_after`] planted.
    pub async fn remove_failure(&self) {
        let of = match self.app.db.backend() {
            DbBackend::Postgres => " ON message",
            _ => "",
        };
        self.execute(&format!("DROP TRIGGER planted{of}")).await;
    }

    /// Formats an id as an SQL literal for this database.
    pub fn id(&self, id: &str) -> String {
        match self.app.db.backend() {
            DbBackend::Postgres => format!("'{id}'"),
            _ => format!("x'{}'", id.replace('-', "")),
        }
    }

    /// Updates the accounts' counts of TEST messages, after a test has inserted messages with SQL.
    pub async fn count_test_messages(&self) {
        let of = "FROM message m WHERE m.account_id = account.id AND m.environment = 'TEST'";
        self.execute(&format!(
            "UPDATE account SET test_message_count = (SELECT COUNT(*) {of}), \
             test_message_bytes = (SELECT COALESCE(SUM(m.word_bytes), 0) {of})"
        ))
        .await;
    }

    /// Clears the caches of the program.
    pub fn forget(&self) {
        self.app.prices.forget();
        self.app.senders.forget_all();
        self.app.keys.forget_all();
    }

    /// Runs a query and returns the first column of the first row. The value must be a number.
    pub async fn number(&self, sql: &str) -> i64 {
        let statement = Statement::from_string(self.app.db.backend(), sql);
        // On SQLite, the only write connection may be in use, so a read connection runs the query.
        let row = match self.app.db.backend() {
            DbBackend::Postgres => self.owner.query_one_raw(statement).await,
            _ => self.app.db.read.query_one_raw(statement).await,
        };
        row.expect("the query runs").expect("a row").try_get_by_index(0).expect("a number")
    }

    /// Returns the number of SQL statements that were run so far.
    pub fn statements(&self) -> usize {
        self.app.db.read.statements() + self.write_statements.load(Ordering::Relaxed)
    }

    /// Returns every row of every table as text. Tests use the result to assert that a refused call changes nothing.
    /// The last-use times of keys are excluded. The audit log is excluded too, because refusals are entered in it.
    pub async fn everything(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut tables = BTreeMap::new();
        for table in [
            "team",
            "account",
            "api_key",
            "message",
            "ledger_entry",
            "usage_day",
            "price",
            "contact",
            "contact_address",
            "contact_tag",
            "opt_out",
            "inventory_number",
            "phone_number",
            "sender",
            "template",
        ] {
            let columns = self.columns(table).await;
            let text: Vec<String> = columns
                .iter()
                .map(|column| match self.app.db.backend() {
                    DbBackend::Postgres => format!("COALESCE(\"{column}\"::text, 'NULL')"),
                    _ => format!("quote(\"{column}\")"),
                })
                .collect();
            let rows =
                format!("SELECT {} AS row FROM {table} ORDER BY 1", text.join(" || ',' || "));
            let statement = Statement::from_string(self.app.db.backend(), rows);
            let rows = self.app.db.read.query_all_raw(statement).await.expect("the query runs");
            let rows = rows.iter().map(|row| row.try_get("", "row").expect("text")).collect();
            tables.insert(table, rows);
        }
        tables
    }

    async fn columns(&self, table: &str) -> Vec<String> {
        let backend = self.app.db.backend();
        let sql = match backend {
            DbBackend::Postgres => format!(
                "SELECT column_name::text AS name FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
            ),
            _ => format!("SELECT name FROM pragma_table_info('{table}')"),
        };
        let statement = Statement::from_string(backend, sql);
        let rows = self.app.db.read.query_all_raw(statement).await.expect("the query runs");
        let names = rows.iter().map(|row| row.try_get::<String>("", "name").expect("a name"));
        names.filter(|name| name != "last_used_at").collect()
    }
}
