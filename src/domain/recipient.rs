//! Where a message goes: told apart by channel, normalised, with the country of a phone number.

use email_address::{EmailAddress, Options};
use entity::message::Channel;
use phonelib::PhoneNumber;

/// Digits of a chat id at most; Telegram's have 52 significant bits.
const CHAT_ID_DIGITS_MAX: usize = 16;

/// A checked recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub channel: Channel,
    /// E.164, an e-mail address with its domain in lower case, or a chat id.
    pub address: String,
    /// ISO 3166-1 alpha-2, of phone numbers.
    pub country: Option<String>,
}

/// The recipient, or what is wrong with it. Without a channel, a phone number means SMS and an
/// address EMAIL.
pub fn parse(to: &str, channel: Option<Channel>) -> Result<Recipient, &'static str> {
    let to = to.trim();
    let channel = match channel {
        Some(channel) => channel,
        None if to.contains('@') => Channel::Email,
        None if to.starts_with('+') => Channel::Sms,
        None => {
            return Err("Give a phone number with + and country code, an e-mail address, or a \
                        channel.");
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

fn phone_number(to: &str) -> Result<(String, String), &'static str> {
    const RULE: &str = "The recipient must be a phone number in E.164, such as +12025550123.";
    if !to.starts_with('+') {
        return Err(RULE);
    }
    let number =
        PhoneNumber::parse(to).filter(|number| number.extension().is_none()).ok_or(RULE)?;
    let country = number.country().code;
    if country == "001" {
        return Err("Satellite and other numbers without a country cannot be reached.");
    }
    Ok((number.e164().to_owned(), country.to_owned()))
}

fn email_address(to: &str) -> Result<String, &'static str> {
    const RULE: &str = "The recipient must be an e-mail address, such as ada@example.com.";
    let options =
        Options::default().with_required_tld().without_domain_literal().without_display_text();
    let address = EmailAddress::parse_with_options(to, options).map_err(|_| RULE)?;
    Ok(format!("{}@{}", address.local_part(), address.domain().to_lowercase()))
}

fn chat_id(to: &str) -> Result<String, &'static str> {
    let digits = to.strip_prefix('-').unwrap_or(to);
    let is_number = (1..=CHAT_ID_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    is_number.then(|| to.to_owned()).ok_or("The recipient must be a numeric Telegram chat id.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_normalised_by_channel() {
        for (to, channel, address, country) in [
            ("+1 (202) 555-0123", None, "+12025550123", Some("US")),
            ("+15005550001", None, "+15005550001", Some("US")),
            ("+39 06 698 12345", Some(Channel::Whatsapp), "+390669812345", Some("VA")),
            ("+4915112345678", Some(Channel::Sms), "+4915112345678", Some("DE")),
            ("+18765550123", None, "+18765550123", Some("JM")),
            (" Ada@Example.COM ", None, "Ada@example.com", None),
            ("-1001234567890", Some(Channel::Telegram), "-1001234567890", None),
        ] {
            let recipient = parse(to, channel).expect(to);
            assert_eq!(recipient.address, address);
            assert_eq!(recipient.country.as_deref(), country);
        }
    }

    #[test]
    fn what_is_no_recipient_is_refused() {
        for (to, channel) in [
            ("", None),
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
        ] {
            assert!(parse(to, channel).is_err(), "{to}");
        }
    }
}
