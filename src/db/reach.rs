//! Checks whether PostgreSQL accepts a connection, and explains why if it does not. A connection pool would only report
//! a timeout.

use std::{io, str::FromStr as _, time::Duration};

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, ConnectOptions as _, Connection as _, postgres::PgConnectOptions},
};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL's error code `insufficient_privilege`.
const MISSING_RIGHT: &str = "42501";

/// Opens one connection and closes it again.
///
/// # Errors
/// Returns a message that explains the problem and its solution. The message does not contain the password.
pub async fn check(url: &str) -> Result<(), String> {
    let options = PgConnectOptions::from_str(url).map_err(
        |_| "the database URL cannot be read (expected postgres://USER:PASSWORD@HOST:PORT/NAME)",
    )?;
    let server = server(&options);
    match timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(Ok(connection)) => {
            // The check has succeeded, even if closing the connection fails.
            let _ = connection.close().await;
            Ok(())
        }
        Ok(Err(error)) => Err(explain(&error, &options, &server)),
        Err(_) => Err(format!(
            "cannot reach PostgreSQL at {server}: no response within {} seconds",
            CONNECT_TIMEOUT.as_secs()
        )),
    }
}

/// Describes the database that a URL identifies, without the password.
pub fn shown(url: &str) -> String {
    match PgConnectOptions::from_str(url) {
        Ok(options) => {
            let user = options.get_username();
            let database = options.get_database().unwrap_or(user);
            format!("{database} at {}, as {user}", server(&options))
        }
        Err(_) => "(a URL that cannot be read)".to_owned(),
    }
}

/// Returns PostgreSQL's message if the error is a missing privilege, for example `permission denied for table account`.
pub fn missing_right(error: &DbErr) -> Option<&str> {
    let (DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause)) = error else {
        return None;
    };
    let RuntimeErr::SqlxError(cause) = cause else { return None };
    let cause = cause.as_database_error()?;
    (cause.code()? == MISSING_RIGHT).then(|| cause.message())
}

fn server(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

fn explain(error: &sqlx::Error, options: &PgConnectOptions, server: &str) -> String {
    let user = options.get_username();
    match error {
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            format!("cannot reach PostgreSQL at {server}: connection refused")
        }
        sqlx::Error::Io(error) => format!("cannot reach PostgreSQL at {server}: {error}"),
        // The codes are in appendix A of the PostgreSQL manual.
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01") => format!("PostgreSQL at {server} refused the password of {user}"),
            Some("3D000") => format!(
                "PostgreSQL at {server} has no database {}; create it, or use another name in the database URL",
                options.get_database().unwrap_or(user)
            ),
            Some("28000" | MISSING_RIGHT) => {
                format!("PostgreSQL at {server} rejects the user {user}: {}", error.message())
            }
            _ => format!("PostgreSQL at {server} refused the connection: {}", error.message()),
        },
        error => format!("cannot connect to PostgreSQL at {server}: {error}"),
    }
}
