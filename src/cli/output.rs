//! Prints the results of commands. If standard output is closed or full, the command is still executed completely, and
//! the failure is reported at the end.

use std::{
    fmt,
    io::{self, Write as _},
    sync::OnceLock,
};

/// The first error that occurred when writing to standard output.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Prints a line of the result.
macro_rules! print_line {
    ($($line:tt)*) => {
        $crate::cli::output::write_line(format_args!($($line)*))
    };
}
pub(super) use print_line;

pub fn write_line(line: fmt::Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout().lock(), "{line}") {
        let _ = FAILURE.set(error);
    }
}

/// Returns why the output is incomplete, or `None` if it is complete.
pub fn failure() -> Option<&'static io::Error> {
    FAILURE.get()
}
