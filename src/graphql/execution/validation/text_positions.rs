//! Lines and columns in the text of a document. Both start at 1 (section 7.1.2 of the
//! specification).

use std::cell::Cell;

use async_graphql::Pos;

/// Converts byte offsets to lines and columns. The search for an offset begins at the previous
/// offset, because most offsets are ascending.
pub struct TextPositions<'t> {
    text: &'t str,
    last: Cell<(usize, Pos)>,
}

const START: (usize, Pos) = (0, Pos { line: 1, column: 1 });

impl<'t> TextPositions<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, last: Cell::new(START) }
    }

    /// Returns the position of the character that begins at this offset.
    pub fn at(&self, offset: usize) -> Pos {
        let bytes = self.text.as_bytes();
        let (mut at, mut pos) = self.last.get();
        if offset < at {
            (at, pos) = START;
        }
        while at < offset {
            match bytes[at] {
                // A carriage return followed by a line feed is one line end (section 2.1.3).
                b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
                b'\n' | b'\r' => pos = Pos { line: pos.line + 1, column: 1 },
                byte if !is_continuation(byte) => pos.column += 1,
                _ => {}
            }
            at += 1;
        }
        self.last.set((at, pos));
        pos
    }
}

/// Returns whether a byte of UTF-8 continues a character.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_follow_the_specification() {
        let text = "a\nb\r\nc\rd é\u{2028}😀e";
        let positions = TextPositions::new(text);
        for (character, line, column) in [
            ("a", 1, 1),
            ("b", 2, 1),
            ("c", 3, 1),
            ("d", 4, 1),
            ("😀", 4, 5),
            ("e", 4, 6),
            ("b", 2, 1),
        ] {
            let offset = text.find(character).expect("the text has this character");
            assert_eq!(positions.at(offset), Pos { line, column }, "{character}");
        }
    }
}
