//! Whether a PostgreSQL server lets this program in, and why not. A pool would try for seconds and then say no more than
//! that it timed out.

use std::{io, str::FromStr as _, time::Duration};

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, ConnectOptions as _, Connection as _, postgres::PgConnectOptions},
};
use tokio::time::timeout;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// PostgreSQL: `insufficient_privilege`.
const MISSING_RIGHT: &str = "42501";

/// Connects once.
///
/// # Errors
///
/// What is wrong, and what to do, without a password.
pub async fn check(url: &str) -> Result<(), String> {
    let options = PgConnectOptions::from_str(url).map_err(
        |_| "the database URL cannot be read (expected postgres://USER:PASSWORD@HOST:PORT/NAME)",
    )?;
    let server = server(&options);
    match timeout(PATIENCE, options.connect()).await {
        Ok(Ok(connection)) => {
            // The check is done, whether or not it ends in order.
            let _ = connection.close().await;
            Ok(())
        }
        Ok(Err(error)) => Err(explain(&error, &options, &server)),
        Err(_) => Err(format!(
            "cannot reach PostgreSQL at {server}: no answer within {} seconds",
            PATIENCE.as_secs()
        )),
    }
}

/// The database of a URL, without its password.
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

/// What PostgreSQL says of a right that the login lacks, such as `permission denied for table account`.
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
        // Appendix A of PostgreSQL's manual has the codes.
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01") => format!("PostgreSQL at {server} refused the password of {user}"),
            Some("3D000") => format!(
                "PostgreSQL at {server} has no database {}; create it, or name another in the database URL",
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
