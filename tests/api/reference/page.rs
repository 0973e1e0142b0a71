//! The Markdown page that the generators of the reference pages build.

use std::{fmt::Write as _, time::Duration};

/// A Markdown page that is built by appending blocks.
pub struct Page(String);

impl Page {
    pub fn new(title: &str) -> Self {
        let mut page = Self(format!("[Tollgate](../../README.md) › Reference › {title}\n"));
        page.text("<!-- Generated: UPDATE_REFERENCE=1 cargo test --test api reference:: -->");
        page.text(&format!("# {title}"));
        page
    }

    /// Appends a second-level heading.
    pub fn heading(&mut self, heading: &str) {
        self.text(&format!("## {heading}"));
    }

    /// Appends a block of text.
    pub fn text(&mut self, text: &str) {
        write!(self.0, "\n{text}\n").expect("text can be written");
    }

    /// Appends a table, omitting columns whose cells are all empty.
    pub fn table<const N: usize>(&mut self, head: [&str; N], rows: &[[&str; N]]) {
        let is_used = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
        let used: Vec<usize> = (0..N).filter(is_used).collect();
        let line = |cells: &[&str; N]| {
            let cells = used.iter().map(|column| cells[*column].replace('|', "\\|"));
            cells.fold("|".to_owned(), |line, cell| match cell.as_str() {
                "" => line + " |",
                cell => format!("{line} {cell} |"),
            })
        };
        let lines: Vec<String> = [&head, &["---"; N]].into_iter().chain(rows).map(line).collect();
        self.text(&lines.join("\n"));
    }

    /// Like [`Self::table`], for rows that own their strings.
    pub fn table_of<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let rows: Vec<[String; N]> = rows.into_iter().collect();
        let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(String::as_str)).collect();
        self.table(head, &rows);
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

/// Formats a number with a comma before each group of three digits.
pub fn count<N: TryInto<u64>>(number: N) -> String {
    let digits = number_of(number).to_string();
    let is_group = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    let with_commas = digits.chars().enumerate().flat_map(|(at, digit)| {
        let comma = is_group(at).then_some(',');
        comma.into_iter().chain([digit])
    });
    with_commas.collect()
}

/// Formats a size in the largest unit in which it is a whole number.
pub fn bytes<N: TryInto<u64>>(number: N) -> String {
    const KIB: u64 = 1024;
    match number_of(number) {
        bytes if bytes.is_multiple_of(KIB * KIB) => format!("{} MiB", count(bytes / KIB / KIB)),
        bytes if bytes.is_multiple_of(KIB) => format!("{} KiB", count(bytes / KIB)),
        bytes => format!("{} bytes", count(bytes)),
    }
}

/// Formats a time in the largest unit in which it is a whole number.
pub fn time(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).expect("a time of some minutes");
    let (number, unit) = match (millis, millis / 1_000) {
        (millis, _) if !millis.is_multiple_of(1_000) => return format!("{} ms", count(millis)),
        (_, seconds) if seconds.is_multiple_of(60) => (seconds / 60, "minute"),
        (_, seconds) => (seconds, "second"),
    };
    format!("{} {unit}{}", count(number), if number == 1 { "" } else { "s" })
}

fn number_of<N: TryInto<u64>>(number: N) -> u64 {
    number.try_into().ok().expect("a limit is not negative")
}
