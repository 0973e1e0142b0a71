//! Parses and normalizes recipients by channel, and finds the country of a phone number.

use std::borrow::Cow;

use email_address::{EmailAddress, Options};
use entity::message::Channel;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use phonelib::PhoneNumber;
use unicode_normalization::UnicodeNormalization as _;

use crate::domain::validate::{is_ignorable, is_line};

/// Maximum number of digits in a chat id; chat ids of Telegram have 52 significant bits.
const CHAT_ID_DIGITS_MAX: usize = 16;

/// Maximum number of bytes in a recipient. The longest recipient is an e-mail address, with 64 bytes before the `@` and
/// 254 bytes after it. The maximum is larger than that because some characters need more bytes in lower case.
pub const RECIPIENT_BYTES_MAX: usize = 512;

/// A checked recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub channel: Channel,
    /// A phone number in E.164 format, a normalized e-mail address (except that capital letters before the `@` are
    /// kept), or a chat id.
    pub address: String,
    /// The country (ISO 3166-1 alpha-2); set only for phone numbers.
    pub country: Option<String>,
}

/// Parses a recipient. Without a channel, the channel is SMS for a phone number and EMAIL for an e-mail address.
///
/// # Errors
/// The rule that the recipient breaks.
pub fn parse(to: &str, channel: Option<Channel>) -> Result<Recipient, &'static str> {
    let to = to.trim();
    if to.len() > RECIPIENT_BYTES_MAX {
        return Err(
            "The recipient is too long for a phone number, an e-mail address or a chat id.",
        );
    }
    let channel = match channel {
        Some(channel) => channel,
        None if to.contains('@') => Channel::Email,
        None if clean_number(to).starts_with('+') => Channel::Sms,
        None => {
            return Err(
                "The recipient is not valid (expected a phone number with + and country code, or an e-mail \
                 address). For other recipients, set channel.",
            );
        }
    };
    let (address, country) = match channel {
        Channel::Sms | Channel::Whatsapp => {
            let (number, country) = phone_number(to)?;
            (number, Some(country))
        }
        Channel::Email => (email_address(to)?, None),
        Channel::Telegram => (chat_id(to)?, None),
    };
    Ok(Recipient { channel, address, country })
}

impl Recipient {
    /// Returns the [`identity`] of the recipient.
    pub fn identity(&self) -> Cow<'_, str> {
        identity(self.channel, &self.address)
    }
}

/// Returns a form that is the same for all spellings of a recipient. It is used only for comparison, not for sending.
/// For an e-mail address, the domain is converted to the form used by the DNS. Enclosing quotation marks are removed
/// from the local part (RFC 5321, section 4.1.2). The local part is also composed (NFC) and converted to lower case,
/// because no provider distinguishes mailboxes by case.
pub fn identity(channel: Channel, address: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase() && byte != b'"';
    if channel != Channel::Email || address.bytes().all(plain) {
        return Cow::Borrowed(address);
    }
    let Some((local, domain)) = address.rsplit_once('@') else { return Cow::Borrowed(address) };
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase());
    let local: String = unquoted(local).nfc().collect::<String>().to_lowercase();
    Cow::Owned(format!("{local}@{domain}"))
}

/// Returns an e-mail address with its domain in Unicode; `None` if no part of the domain is in Punycode.
pub fn in_unicode(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--"))?;
    let (domain, _) = idna::domain_to_unicode(domain);
    Some(format!("{local}@{domain}"))
}

/// Returns a local part without its quotation marks and without the backslash escapes inside them.
fn unquoted(local: &str) -> String {
    let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(quoted) = quoted else { return local.to_owned() };
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        text.push(if char == '\\' { chars.next().unwrap_or(char) } else { char });
    }
    text
}

fn phone_number(to: &str) -> Result<(String, String), &'static str> {
    const RULE: &str =
        "The recipient is not valid (expected a phone number in E.164, such as +12025550123).";
    let to = clean_number(to);
    // The parser would read letters as the digits of a telephone keypad. For example, it would read an O as 6 instead
    // of 0.
    if !to.starts_with('+') || to.contains(char::is_alphabetic) {
        return Err(RULE);
    }
    let number =
        PhoneNumber::parse(&to).filter(|number| number.extension().is_none()).ok_or(RULE)?;
    let country = number.country().code;
    if country == "001" {
        return Err("Numbers without a country, such as satellite numbers, are not supported.");
    }
    Ok((number.e164().to_owned(), country.to_owned()))
}

/// Cleans up a phone number that may have been copied from a document. Invisible characters, `tel:` (RFC 3966) and
/// parentheses around the country code are removed. Digits, plus signs and hyphens are converted to ASCII.
fn clean_number(number: &str) -> String {
    let visible = number.nfkc().filter(|char| !is_ignorable(*char));
    let ascii: String =
        visible.map(|char| if is_dash(char) { '-' } else { ascii_digit(char) }).collect();
    let number = ascii.trim();
    let number = match number.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => number[4..].trim_start(),
        _ => number,
    };
    match number.strip_prefix("(+") {
        Some(number) => format!("+{}", number.replacen(')', " ", 1)),
        None => number.to_owned(),
    }
}

/// Returns whether a character is used as a hyphen in phone numbers. These are Unicode's dashes, the minus sign, and
/// the Katakana prolonged sound mark.
fn is_dash(char: char) -> bool {
    matches!(char, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30FC}')
}

/// The digit zero of each script whose decimal digits (Unicode's category Nd) are used in phone numbers: Arabic,
/// Persian, and scripts of India and South East Asia.
const ZEROS: [u32; 17] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50,
    0xED0, 0xF20, 0x1040, 0x17E0,
];

fn ascii_digit(char: char) -> char {
    let code = u32::from(char);
    let digit = ZEROS.iter().find_map(|zero| code.checked_sub(*zero).filter(|digit| *digit < 10));
    digit.and_then(|digit| char::from_digit(digit, 10)).unwrap_or(char)
}

fn email_address(to: &str) -> Result<String, &'static str> {
    const RULE: &str =
        "The recipient is not valid (expected an e-mail address, such as ada@example.com).";
    // The parser allows a tab inside quotation marks.
    if !is_line(to) {
        return Err(RULE);
    }
    let options =
        Options::default().with_required_tld().without_domain_literal().without_display_text();
    let composed: String = to.nfc().collect();
    let address = EmailAddress::parse_with_options(&composed, options).map_err(|_| RULE)?;
    let domain = domain(address.domain()).ok_or(RULE)?;
    Ok(format!("{}@{domain}", local_part(address.local_part())))
}

/// Returns the domain in its DNS form: letters in lower case, digits and hyphens (UTS 46; RFC 5321, section 4.1.2).
/// `None` if it cannot be the name of a host. For example, the last label of a host name must not consist of digits
/// only (RFC 3696, section 2).
fn domain(domain: &str) -> Option<String> {
    let domain = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .ok()?;
    let last = domain.rsplit('.').next().unwrap_or_default();
    (!last.bytes().all(|byte| byte.is_ascii_digit())).then(|| domain.into_owned())
}

/// Returns the shortest form of a composed local part. It is quoted only if necessary, and has backslashes only where
/// they are required (RFC 5321, section 4.1.2). Upper and lower case are kept, because a mailbox may be case-sensitive.
fn local_part(local: &str) -> String {
    let text = unquoted(local);
    if text.split('.').all(is_atom) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns whether text is an atom (RFC 5322, section 3.2.3, and RFC 6531, section 3.3).
fn is_atom(text: &str) -> bool {
    let is_atom_char = |char: char| {
        char.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(char) || !char.is_ascii()
    };
    !text.is_empty() && text.chars().all(is_atom_char)
}

fn chat_id(to: &str) -> Result<String, &'static str> {
    let digits = to.strip_prefix('-').unwrap_or(to);
    let is_number = (1..=CHAT_ID_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    is_number
        .then(|| to.to_owned())
        .ok_or("The recipient is not valid (expected a numeric Telegram chat id).")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_normalised_by_channel() {
        for (to, channel, address, country) in [
            ("+1 (202) 555-0123", None, "+12025550123", Some("US")),
            (&format!("+1{}2025550123", " ".repeat(500)), None, "+12025550123", Some("US")),
            ("+15005550001", None, "+15005550001", Some("US")),
            ("+39 06 698 12345", Some(Channel::Whatsapp), "+390669812345", Some("VA")),
            ("+4915112345678", Some(Channel::Sms), "+4915112345678", Some("DE")),
            ("+18765550123", None, "+18765550123", Some("JM")),
            ("+44\u{2011}7911\u{2011}123463", None, "+447911123463", Some("GG")),
            ("\u{202a}+447911123463\u{202c}", None, "+447911123463", Some("GG")),
            ("+44\u{200b}7911\u{200e} 123463\u{feff}", None, "+447911123463", Some("GG")),
            ("\u{ff0b}\u{ff14}\u{ff14}\u{ff17}\u{ff19}11123463", None, "+447911123463", Some("GG")),
            ("+\u{664}\u{664}7911123463", None, "+447911123463", Some("GG")),
            ("(+44) 7911 123463", None, "+447911123463", Some("GG")),
            ("tel:+44-7911-123463", None, "+447911123463", Some("GG")),
            (
                "TEL: +44\u{a0}7911\u{2009}123463",
                Some(Channel::Whatsapp),
                "+447911123463",
                Some("GG"),
            ),
            ("a@B\u{fc}cher.example", None, "a@xn--bcher-kva.example", None),
            ("\"Ada\"@\u{ff45}xample.com", None, "Ada@example.com", None),
            ("\"a\\b\"@example.com", None, "ab@example.com", None),
            ("\"a b\"@example.com", None, "\"a b\"@example.com", None),
            ("\"a\\\"b\"@example.com", None, "\"a\\\"b\"@example.com", None),
            ("rene\u{301}e@example.com", None, "ren\u{e9}e@example.com", None),
            (" Ada@Example.COM ", None, "Ada@example.com", None),
            ("-1001234567890", Some(Channel::Telegram), "-1001234567890", None),
        ] {
            let recipient = parse(to, channel).expect(to);
            assert_eq!(recipient.address, address);
            assert_eq!(recipient.country.as_deref(), country);
        }
    }

    #[test]
    fn an_invalid_recipient_is_refused() {
        for (to, channel) in [
            ("", None),
            (&format!("+1{}2025550123", " ".repeat(501)), None),
            ("12025550123", None),
            ("+0", None),
            ("+11111111111", None),
            ("+1202555012345678", None),
            ("hello", None),
            ("a@b", None),
            ("Ada <ada@example.com>", None),
            ("ada@example.com, bob@example.com", None),
            ("ada@example.com", Some(Channel::Sms)),
            ("+12025550123", Some(Channel::Email)),
            ("+12025550123", Some(Channel::Telegram)),
            ("12a", Some(Channel::Telegram)),
            ("+1 202 555 O123", None),
            ("+1 202 555 01l3", None),
            ("+1202555abcd", None),
            ("+1 800 FLOWERS", None),
            ("tel:7911123463", None),
            ("tel:+447911123463;ext=5", None),
            ("tel:+447911123463;phone-context=example.com", None),
            ("a@example.com|gov.uk", None),
            ("a@example.com/path", None),
            ("a@dom_ain.com", None),
            ("a@exa%6Dple.com", None),
            ("a@1.2.3.4", None),
            ("a@b.1", None),
            ("a@ex!ample.com", None),
            ("a@ex#ample.com", None),
            ("a@ex'ample.com", None),
            ("a@ex=ample.com", None),
            ("a@ex~ample.com", None),
            ("a@ex?ample.com", None),
            ("a@ex^ample.com", None),
            ("a@ex&ample.com", None),
            ("a@-example.com", None),
            ("a@example-.com", None),
            ("a@example..com", None),
            ("a@xn--a.com", None),
            ("a@\u{2028}example.com", None),
            ("\"a\tb\"@example.com", None),
            ("\"a\u{2028}b\"@example.com", None),
            ("a\u{202e}b@example.com", None),
        ] {
            assert!(parse(to, channel).is_err(), "{to}");
        }
    }

    #[test]
    fn only_spellings_of_one_recipient_share_their_identity() {
        for (channel, one, others) in [
            (
                Channel::Email,
                "ada@example.com",
                &[
                    "Ada@example.com",
                    "\"ada\"@example.com",
                    "\"A\\da\"@example.com",
                    "ADA@ｅxample.com",
                ][..],
            ),
            (
                Channel::Email,
                "eve@xn--bcher-kva.com",
                &[
                    "eve@bücher.com",
                    "Eve@BÜCHER.com",
                    "eve@bu\u{308}cher.com",
                    "\"eve\"@xn--bcher-kva.com",
                ],
            ),
            (Channel::Email, "renée@example.com", &["RENE\u{301}E@example.com"]),
            (Channel::Email, "a b@example.com", &["\"A B\"@example.com"]),
            (Channel::Email, "a@b@example.com", &["\"a@b\"@example.com"]),
            (Channel::Sms, "+12025550123", &["+12025550123"]),
            (Channel::Telegram, "-100", &["-100"]),
        ] {
            assert_eq!(identity(channel, one), one);
            for other in others {
                assert_eq!(identity(channel, other), one, "{other}");
            }
        }
        for (one, other) in [
            ("ada@example.com", "adah@example.com"),
            ("ada@example.com", "ada@example.org"),
            ("a.da@example.com", "ada@example.com"),
            ("ada+1@example.com", "ada@example.com"),
            ("\"a\\\"b\"@example.com", "ab@example.com"),
        ] {
            assert_ne!(identity(Channel::Email, one), identity(Channel::Email, other));
        }
    }
}
