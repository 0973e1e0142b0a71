//! Counts the SMS segments that text needs. The encoding is GSM-7 (3GPP TS 23.038) if its alphabet contains all
//! characters of the text, and UCS-2 otherwise. A character is never split between two segments.

use entity::message::Channel;

entity::api_enum! {
    /// Character encoding of an SMS.
    pub enum SmsEncoding {
        /// GSM 7-bit alphabet: 160 characters in a single segment, 153 per segment if there are
        /// several.
        Gsm7,
        /// UTF-16, used if the text has characters outside the GSM 7-bit alphabet: 70 code units in
        /// a single segment, 67 per segment if there are several.
        Ucs2,
    }
}

const GSM7_BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡\
                          ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Characters that are encoded as an escape septet and a second septet.
const GSM7_EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Returns the encoding and the number of segments of text on this channel. Channels other than SMS have no encoding
/// and one segment.
pub fn of(channel: Channel, text: &str) -> (Option<SmsEncoding>, i32) {
    if channel != Channel::Sms {
        return (None, 1);
    }
    let (encoding, segments) = count(text);
    (Some(encoding), segments)
}

/// Returns the encoding and the number of segments, which is at least one.
pub fn count(text: &str) -> (SmsEncoding, i32) {
    let gsm7: Option<Vec<usize>> = text.chars().map(septets).collect();
    if let Some(units) = gsm7 {
        return (SmsEncoding::Gsm7, parts(&units, 160, 153));
    }
    let units: Vec<usize> = text.chars().map(char::len_utf16).collect();
    (SmsEncoding::Ucs2, parts(&units, 70, 67))
}

fn septets(character: char) -> Option<usize> {
    if GSM7_BASIC.contains(character) {
        Some(1)
    } else if GSM7_EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// Returns the number of segments for characters of these widths in units. A single segment has `single` units. If
/// there are several segments, each has `multi` units.
fn parts(widths: &[usize], single: usize, multi: usize) -> i32 {
    if widths.iter().sum::<usize>() <= single {
        return 1;
    }
    let (mut parts, mut used) = (1, 0);
    for width in widths {
        if used + width > multi {
            parts += 1;
            used = 0;
        }
        used += width;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{SmsEncoding::*, count};

    #[test]
    fn segments_are_counted_as_phones_do() {
        let e = |text: &str, times: usize| text.repeat(times);
        for (text, expected) in [
            (String::new(), (Gsm7, 1)),
            (e("a", 160), (Gsm7, 1)),
            (e("a", 161), (Gsm7, 2)),
            (e("a", 306), (Gsm7, 2)),
            (e("a", 307), (Gsm7, 3)),
            (e("€", 80), (Gsm7, 1)),
            (e("€", 81), (Gsm7, 2)),
            // The escape septet and the septet after it stay together, so 152 + 2 septets do not fit in 153.
            (format!("{}€{}", e("a", 152), e("a", 152)), (Gsm7, 3)),
            (e("é", 160), (Gsm7, 1)),
            (e("`", 70), (Ucs2, 1)),
            (e("ж", 70), (Ucs2, 1)),
            (e("ж", 71), (Ucs2, 2)),
            (e("ж", 134), (Ucs2, 2)),
            (e("ж", 135), (Ucs2, 3)),
            (e("😀", 35), (Ucs2, 1)),
            (e("😀", 36), (Ucs2, 2)),
            // A surrogate pair stays together, so 33 pairs use 66 of the 67 units in a segment.
            (e("😀", 67), (Ucs2, 3)),
            (format!("{}’", e("a", 69)), (Ucs2, 1)),
        ] {
            assert_eq!(count(&text), expected, "{text}");
        }
    }
}
