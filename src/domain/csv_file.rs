//! Reads CSV files on the command line. The sizes of a file and of its rows are limited, each column may be named only
//! once, and line numbers are those that a text editor shows.

use std::{collections::HashMap, hash::Hash, io::Read};

use csv::{ErrorKind, StringRecord, Trim};
use csv_core::ReadRecordResult;

use crate::money::Micros;

/// Maximum number of bytes in a file. Reading stops there, so that an endless input does not fill the memory.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Maximum number of columns in a file. The largest possible contact needs far fewer.
pub const COLUMNS_MAX: usize = 100;
/// Maximum number of bytes in a row of a file.
pub const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of problems reported for a file.
const PROBLEMS_MAX: usize = 100;
/// Maximum number of characters of a cell that an error message shows.
const SHOWN_CHARS: usize = 40;

/// Reads a whole file.
pub fn read(file: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let max = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = file.take(max + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() > BYTES_MAX {
        return Err("the file is larger than 64 MiB; split it".to_owned());
    }
    Ok(bytes)
}

/// The rows of a file after its header.
pub struct Rows<'b> {
    bytes: &'b [u8],
    reader: csv::Reader<&'b [u8]>,
    pub header: StringRecord,
    /// The index of the byte up to which lines have been counted, and the line number at this byte.
    counted: (usize, u64),
}

impl<'b> Rows<'b> {
    /// Reads the header of a file.
    pub fn of(bytes: &'b [u8], trim: Trim) -> Result<Self, String> {
        let reader = csv::ReaderBuilder::new().trim(trim).from_reader(bytes);
        let mut rows = Self { bytes, reader, header: StringRecord::new(), counted: (0, 1) };
        if let Err((at, problem)) = check_rows(bytes) {
            return Err(format!("line {}: {problem}", rows.line_at(at)));
        }
        rows.header = rows.reader.headers().map_err(|error| problem(&error))?.clone();
        Ok(rows)
    }

    /// Returns the positions of these columns. The header must name each of these columns once.
    fn columns<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N], String> {
        let mut positions = [0; N];
        for (position, name) in positions.iter_mut().zip(names) {
            let mut matches = self.header.iter().enumerate().filter(|(_, column)| *column == name);
            let first = matches.next();
            *position = first
                .ok_or_else(|| format!("the first line must name the columns {}", names.join(",")))?
                .0;
            if matches.next().is_some() {
                return Err(duplicate_column(name));
            }
        }
        Ok(positions)
    }

    /// Returns the number of the line that contains this byte, or of the next line if the byte ends a line. The CSV
    /// reader's own line numbers are one too low after CRLF (BurntSushi/rust-csv#395).
    fn line_at(&mut self, at: usize) -> u64 {
        let (from, mut line) = self.counted;
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let rest = self.bytes.get(at..).unwrap_or_default();
        let at = at + rest.iter().take_while(|byte| is_end(byte)).count();
        let passed = self.bytes.get(from..at).unwrap_or_default();
        for (index, byte) in passed.iter().enumerate() {
            let is_cr_of_crlf = *byte == b'\r' && passed.get(index + 1) == Some(&b'\n');
            line += u64::from(is_end(byte) && !is_cr_of_crlf);
        }
        self.counted = (at.max(from), line);
        line
    }

    fn line_at_position(&mut self, position: Option<&csv::Position>) -> u64 {
        let (from, _) = self.counted;
        let at = position.and_then(|position| usize::try_from(position.byte()).ok());
        self.line_at(at.unwrap_or(from))
    }
}

/// Returns each row with its line number, or the problem with the row.
impl Iterator for Rows<'_> {
    type Item = (u64, Result<StringRecord, String>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = StringRecord::new();
        match self.reader.read_record(&mut record) {
            Ok(false) => None,
            Ok(true) => Some((self.line_at_position(record.position()), Ok(record))),
            Err(error) => Some((self.line_at_position(error.position()), Err(problem(&error)))),
        }
    }
}

/// Checks the size of each row before the CSV reader stores the row. Storing a row takes about 30 bytes per cell. The
/// error contains the index of the byte at which the row begins.
fn check_rows(bytes: &[u8]) -> Result<(), (usize, String)> {
    let mut reader = csv_core::Reader::new();
    let mut row = vec![0; ROW_BYTES_MAX + 1];
    let mut ends = [0; COLUMNS_MAX + 1];
    let (mut row_bytes, mut columns) = (0, 0);
    let (mut begin, mut at) = (0, 0);
    loop {
        let (result, read, written, ended) =
            reader.read_record(&bytes[at..], &mut row[row_bytes..], &mut ends[columns..]);
        at += read;
        (row_bytes, columns) = (row_bytes + written, columns + ended);
        if row_bytes > ROW_BYTES_MAX {
            let problem = "the row is larger than 4 MiB; check for an unclosed quotation mark";
            return Err((begin, problem.to_owned()));
        }
        if columns > COLUMNS_MAX {
            return Err((begin, format!("the row has more than {COLUMNS_MAX} columns")));
        }
        match result {
            ReadRecordResult::Record => (row_bytes, columns, begin) = (0, 0, at),
            ReadRecordResult::End => return Ok(()),
            // The end of the input must be signaled once more, to end the last row. The output is never full.
            _ => {}
        }
    }
}

/// Describes the problem with a row, without the CSV reader's own line number.
fn problem(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} fields (expected {expected_len}, as in the first line)")
        }
        ErrorKind::Utf8 { .. } => "the row is not valid UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Describes the problem with a header that names a column twice.
pub fn duplicate_column(column: &str) -> String {
    format!("duplicate column {column:?} in the first line")
}

/// The format of a file whose rows have a unique key.
pub struct ListFormat<const N: usize> {
    pub columns: [&'static str; N],
    pub rows_max: usize,
    /// The problem to report if a file has more rows than the maximum.
    pub too_many: String,
    /// The name of the key.
    pub key: &'static str,
    /// The problem to report for a file without rows.
    pub no_rows: &'static str,
}

impl<const N: usize> ListFormat<N> {
    /// Reads all rows. If there are problems, returns all of them, each with its line number.
    pub fn read<R, K: Eq + Hash>(
        &self,
        file: impl Read,
        read_row: impl Fn([&str; N]) -> Result<R, String>,
        key_of: impl Fn(&R) -> K,
    ) -> Result<Vec<R>, Vec<String>> {
        let bytes = read(file).map_err(|problem| vec![problem])?;
        let mut lines = Rows::of(&bytes, Trim::All).map_err(|problem| vec![problem])?;
        let columns = lines.columns(self.columns).map_err(|problem| vec![problem])?;
        let mut rows = Vec::new();
        let mut problems = Problems::default();
        let mut seen = HashMap::new();
        for (line, record) in &mut lines {
            let row = record
                .and_then(|record| read_row(columns.map(|at| record.get(at).unwrap_or_default())));
            let row = row.and_then(|row| {
                if rows.len() == self.rows_max {
                    return Err(self.too_many.clone());
                }
                if let Some(earlier) = seen.insert(key_of(&row), line) {
                    return Err(format!("duplicate {} (first on line {earlier})", self.key));
                }
                Ok(row)
            });
            match row {
                Ok(row) => rows.push(row),
                Err(problem) if problems.add(line, &problem) && rows.len() < self.rows_max => {}
                Err(_) => break,
            }
        }
        problems.or(rows, self.no_rows)
    }
}

/// The problems in a file, up to [`PROBLEMS_MAX`].
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    /// Adds a problem in a line. Returns false when the maximum is reached and the rest of the file is not read.
    fn add(&mut self, line: u64, problem: &str) -> bool {
        self.0.push(format!("line {line}: {problem}"));
        let has_capacity = self.0.len() < PROBLEMS_MAX;
        if !has_capacity {
            self.0.push("too many problems: the rest of the file was not read".to_owned());
        }
        has_capacity
    }

    /// Returns the rows, or the problems if there are any. A file without rows has the problem `no_rows`.
    fn or<T>(self, rows: Vec<T>, no_rows: &str) -> Result<Vec<T>, Vec<String>> {
        match (rows.is_empty(), self.0.is_empty()) {
            (_, false) => Err(self.0),
            (true, true) => Err(vec![no_rows.to_owned()]),
            (false, true) => Ok(rows),
        }
    }
}

/// Returns a cell in the form that error messages use, truncated if it is long.
pub fn shown(cell: &str) -> String {
    match cell.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &cell[..end]),
        None => format!("{cell:?}"),
    }
}

/// Parses a price in cents: digits, with up to four decimal places.
pub fn price(column: &str, text: &str) -> Result<Micros, String> {
    if text.starts_with('-') {
        return Err(format!("{column}: the price must not be negative"));
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_digits(whole) && is_digits(decimals);
    let price = Micros::from_cents_text(text).map_err(|error| format!("{column}: {error}"))?;
    if !is_plain || (whole.len() > 1 && whole.starts_with('0')) {
        let text = shown(text);
        return Err(format!(
            "{column}: {text} is not a price (expected digits, such as 5 or 0.83)"
        ));
    }
    Ok(price)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str) -> Vec<(u64, Result<String, String>)> {
        let rows = Rows::of(file.as_bytes(), Trim::All).expect("a header");
        rows.map(|(line, row)| (line, row.map(|row| row[0].to_owned()))).collect()
    }

    #[test]
    fn line_numbers_are_those_of_an_editor() {
        for end in ["\n", "\r\n", "\r"] {
            let file = ["a,b", "1,x", "\"2", "2\",x", "", "", "3,x", "4", "5,x", ""].join(end);
            let found = lines(&file);
            let numbers: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
            assert_eq!(numbers, [2, 3, 7, 8, 9], "{end:?}");
            assert!(
                found[3].1.as_ref().is_err_and(|error| error.starts_with("the row has 1 fields"))
            );
            assert_eq!(found[4].1.as_deref(), Ok("5"));
        }
        assert_eq!(
            lines("\u{feff}a\r\n1\r\n2"),
            [(2, Ok("1".to_owned())), (3, Ok("2".to_owned()))]
        );
        assert_eq!(lines("a,b\n"), []);
    }

    #[test]
    fn a_duplicate_or_missing_column_is_refused() {
        let columns = |header: &str| {
            Rows::of(header.as_bytes(), Trim::All).and_then(|rows| rows.columns(["a", "b"]))
        };
        assert_eq!(columns("b, a,x,x"), Ok([1, 0]));
        assert_eq!(columns("a,x").expect_err("no b"), "the first line must name the columns a,b");
        assert_eq!(columns("b,a,b").expect_err("two"), duplicate_column("b"));
    }

    #[test]
    fn a_row_that_is_too_large_is_refused() {
        let row = |columns: usize| ",".repeat(columns - 1);
        let long = |bytes: usize| format!("\"{}\"", "\n".repeat(bytes));
        for good in [row(COLUMNS_MAX), format!("a\n{}\n", long(ROW_BYTES_MAX))] {
            assert!(Rows::of(good.as_bytes(), Trim::None).is_ok());
        }
        for (bad, problem) in [
            (row(COLUMNS_MAX + 1), "line 1: the row has more than 100 columns"),
            (
                format!("a\r\nb\r\n\r\n{}", row(COLUMNS_MAX + 1)),
                "line 4: the row has more than 100 columns",
            ),
            (
                format!("a\n{}", long(ROW_BYTES_MAX + 1)),
                "line 2: the row is larger than 4 MiB; check for an unclosed quotation mark",
            ),
            (
                format!("a\n\"{}", "b,\n".repeat(ROW_BYTES_MAX)),
                "line 2: the row is larger than 4 MiB; check for an unclosed quotation mark",
            ),
        ] {
            assert_eq!(Rows::of(bad.as_bytes(), Trim::None).err().as_deref(), Some(problem));
        }
    }

    #[test]
    fn an_endless_file_is_not_read_beyond_the_maximum() {
        assert_eq!(read(std::io::repeat(b'x')).expect_err("too large"), read_error());
        let largest = read(std::io::repeat(b'x').take(BYTES_MAX as u64)).expect("it fits");
        assert_eq!(largest.len(), BYTES_MAX);
        assert_eq!(read(std::io::repeat(b'x').take(BYTES_MAX as u64 + 1)), Err(read_error()));
    }

    fn read_error() -> String {
        "the file is larger than 64 MiB; split it".to_owned()
    }

    #[test]
    fn the_number_of_problems_is_limited() {
        let mut problems = Problems::default();
        assert!((1..100).all(|line| problems.add(line, "wrong")));
        assert!(!problems.add(100, "wrong"));
        let all = problems.or(vec![1], "empty").expect_err("problems");
        assert_eq!((all.len(), all[99].as_str()), (101, "line 100: wrong"));
        assert_eq!(
            Problems::default().or(Vec::<u8>::new(), "empty"),
            Err(vec!["empty".to_owned()])
        );
        assert_eq!(Problems::default().or(vec![1], "empty"), Ok(vec![1]));
    }

    #[test]
    fn long_cells_are_truncated() {
        assert_eq!(shown("FAX"), "\"FAX\"");
        assert_eq!(shown(&"é".repeat(40)), format!("\"{}\"", "é".repeat(40)));
        assert_eq!(shown(&"é".repeat(41)), format!("\"{}\"…", "é".repeat(40)));
    }

    #[test]
    fn a_price_has_digits_and_up_to_four_decimals() {
        for (text, micros) in
            [("0", 0), ("5", 50_000), ("0.83", 8_300), ("10.0001", 100_001), ("5.0", 50_000)]
        {
            assert_eq!(price("p", text).map(Micros::get), Ok(micros), "{text}");
        }
        for text in [
            "", "-0", "-1", "5.", ".5", "1e3", "1E-1", "+5", "05", "00", "1,5", " 5", "0.00001",
            "٥", "NaN",
        ] {
            assert!(price("p", text).is_err_and(|error| error.starts_with("p: ")), "{text:?}");
        }
        let long = "1".repeat(100_000);
        assert!(price("p", &format!("{long}e0")).is_err_and(|error| error.len() < 200));
    }
}
