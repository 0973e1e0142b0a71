//! CSV files of the command line: bounded, with columns that are named once, lines as an editor counts them, and prices
//! in plain digits.

use std::io::Read;

use csv::{ErrorKind, StringRecord, Trim};
use csv_core::ReadRecordResult;

use crate::money::Micros;

/// Bytes of a file at most. An endless one is not read further.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Columns of a file at most, and bytes of a row. A contact with all that it may have needs much less.
pub const COLUMNS_MAX: usize = 100;
/// Maximum number of bytes in a row of a file.
pub const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Problems that are reported of one file at most.
const PROBLEMS_MAX: usize = 100;
/// Characters of a cell that an error shows.
const SHOWN_CHARS: usize = 40;

/// Reads a file whole.
pub fn read(file: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let max = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = file.take(max + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() > BYTES_MAX {
        return Err("the file has more than 64 MiB; split it".to_owned());
    }
    Ok(bytes)
}

/// The rows of a file, after its head.
pub struct Rows<'b> {
    bytes: &'b [u8],
    reader: csv::Reader<&'b [u8]>,
    pub head: StringRecord,
    /// How far the lines are counted, and the number of the line there.
    counted: (usize, u64),
}

impl<'b> Rows<'b> {
    /// Reads the head of a file.
    pub fn of(bytes: &'b [u8], trim: Trim) -> Result<Self, String> {
        let reader = csv::ReaderBuilder::new().trim(trim).from_reader(bytes);
        let mut rows = Self { bytes, reader, head: StringRecord::new(), counted: (0, 1) };
        if let Err((at, problem)) = check_rows(bytes) {
            return Err(format!("line {}: {problem}", rows.line_at(at)));
        }
        rows.head = rows.reader.headers().map_err(|error| problem(&error))?.clone();
        Ok(rows)
    }

    /// Where these columns are; each must be named once.
    pub fn columns<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N], String> {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            let mut found = self.head.iter().enumerate().filter(|(_, column)| *column == name);
            let first = found.next();
            *place = first
                .ok_or_else(|| format!("the first line must name the columns {}", names.join(",")))?
                .0;
            if found.next().is_some() {
                return Err(named_twice(name));
            }
        }
        Ok(places)
    }

    /// The number of the line that holds this byte, or that begins after the ends of lines there. The reader's own
    /// numbers are one too low after CRLF (BurntSushi/rust-csv#395).
    fn line_at(&mut self, at: usize) -> u64 {
        let (from, mut line) = self.counted;
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let rest = self.bytes.get(at..).unwrap_or_default();
        let at = at + rest.iter().take_while(|byte| is_end(byte)).count();
        let passed = self.bytes.get(from..at).unwrap_or_default();
        for (place, byte) in passed.iter().enumerate() {
            let is_half = *byte == b'\r' && passed.get(place + 1) == Some(&b'\n');
            line += u64::from(is_end(byte) && !is_half);
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

/// Each row with its line, or what is wrong with it.
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

/// Finds a row that is too large, before the reader holds it: that takes some 30 bytes for a cell. Gives where it begins.
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
            let problem = "the row has more than 4 MiB; is there a quotation mark too many?";
            return Err((begin, problem.to_owned()));
        }
        if columns > COLUMNS_MAX {
            return Err((begin, format!("the row has more than {COLUMNS_MAX} columns")));
        }
        match result {
            ReadRecordResult::Record => (row_bytes, columns, begin) = (0, 0, at),
            ReadRecordResult::End => return Ok(()),
            // Nothing more comes: said once more, it ends the last row. The output is never full.
            _ => {}
        }
    }
}

/// What is wrong with a row, without the reader's number of its line.
fn problem(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("found record with {len} fields, but the first line has {expected_len}")
        }
        ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// What is wrong with a head.
pub fn named_twice(column: &str) -> String {
    format!("the first line names the column {column:?} twice; name each column once")
}

/// All problems of a file, as long as a person reads them.
#[derive(Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Adds a problem of a line. False if there are so many that the rest of the file is not worth a look.
    pub fn add(&mut self, line: u64, problem: &str) -> bool {
        self.0.push(format!("line {line}: {problem}"));
        let goes_on = self.0.len() < PROBLEMS_MAX;
        if !goes_on {
            self.0.push("and perhaps more: the rest of the file was not read".to_owned());
        }
        goes_on
    }

    /// The rows, if nothing is wrong with the file.
    pub fn or<T>(self, rows: Vec<T>, none: &str) -> Result<Vec<T>, Vec<String>> {
        match (rows.is_empty(), self.0.is_empty()) {
            (_, false) => Err(self.0),
            (true, true) => Err(vec![none.to_owned()]),
            (false, true) => Ok(rows),
        }
    }
}

/// A cell as an error shows it: its beginning, if it is long.
pub fn shown(cell: &str) -> String {
    match cell.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &cell[..end]),
        None => format!("{cell:?}"),
    }
}

/// A price in cents as a list says it: digits, and up to four decimals.
pub fn price(column: &str, text: &str) -> Result<Micros, String> {
    if text.starts_with('-') {
        return Err(format!("{column}: a price is not negative"));
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
        let rows = Rows::of(file.as_bytes(), Trim::All).expect("a head");
        rows.map(|(line, row)| (line, row.map(|row| row[0].to_owned()))).collect()
    }

    /// As an editor counts them, whatever ends a line; a cell may have several.
    #[test]
    fn lines_are_those_of_the_file() {
        for end in ["\n", "\r\n", "\r"] {
            let file = ["a,b", "1,x", "\"2", "2\",x", "", "", "3,x", "4", "5,x", ""].join(end);
            let found = lines(&file);
            let numbers: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
            assert_eq!(numbers, [2, 3, 7, 8, 9], "{end:?}");
            assert!(
                found[3].1.as_ref().is_err_and(|error| error.starts_with("found record with 1"))
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
    fn each_column_is_named_once() {
        let columns = |head: &str| {
            Rows::of(head.as_bytes(), Trim::All).and_then(|rows| rows.columns(["a", "b"]))
        };
        assert_eq!(columns("b, a,x,x"), Ok([1, 0]));
        assert_eq!(columns("a,x").expect_err("no b"), "the first line must name the columns a,b");
        assert_eq!(columns("b,a,b").expect_err("two"), named_twice("b"));
    }

    /// A row has so many columns and bytes at most, wherever it stands.
    #[test]
    fn a_row_is_bounded() {
        let row = |columns: usize| ",".repeat(columns - 1);
        let long = |bytes: usize| format!("\"{}\"", "\n".repeat(bytes));
        for good in [row(COLUMNS_MAX), format!("a\n{}\n", long(ROW_BYTES_MAX))] {
            assert!(Rows::of(good.as_bytes(), Trim::None).is_ok());
        }
        for (bad, said) in [
            (row(COLUMNS_MAX + 1), "line 1: the row has more than 100 columns"),
            (
                format!("a\r\nb\r\n\r\n{}", row(COLUMNS_MAX + 1)),
                "line 4: the row has more than 100 columns",
            ),
            (
                format!("a\n{}", long(ROW_BYTES_MAX + 1)),
                "line 2: the row has more than 4 MiB; is there a quotation mark too many?",
            ),
            (
                format!("a\n\"{}", "b,\n".repeat(ROW_BYTES_MAX)),
                "line 2: the row has more than 4 MiB; is there a quotation mark too many?",
            ),
        ] {
            assert_eq!(Rows::of(bad.as_bytes(), Trim::None).err().as_deref(), Some(said));
        }
    }

    /// An endless file takes no more memory than one that is too large.
    #[test]
    fn a_file_is_bounded() {
        assert_eq!(read(std::io::repeat(b'x')).expect_err("too large"), read_error());
        let largest = read(std::io::repeat(b'x').take(BYTES_MAX as u64)).expect("it fits");
        assert_eq!(largest.len(), BYTES_MAX);
        assert_eq!(read(std::io::repeat(b'x').take(BYTES_MAX as u64 + 1)), Err(read_error()));
    }

    fn read_error() -> String {
        "the file has more than 64 MiB; split it".to_owned()
    }

    #[test]
    fn problems_end_somewhere() {
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
    fn long_cells_are_shown_by_their_beginning() {
        assert_eq!(shown("FAX"), "\"FAX\"");
        assert_eq!(shown(&"é".repeat(40)), format!("\"{}\"", "é".repeat(40)));
        assert_eq!(shown(&"é".repeat(41)), format!("\"{}\"…", "é".repeat(40)));
    }

    #[test]
    fn a_price_is_written_in_digits() {
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
