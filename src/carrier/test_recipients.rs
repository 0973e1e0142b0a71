//! Test recipients simulate failures in the sandbox and with TEST keys. They are documented in docs/guide/sandbox.md.
//!
//! | phone number or chat id | e-mail | outcome |
//! | --- | --- | --- |
//! | `+15005550001` | `fail@…` | FAILED: rejected, refunded |
//! | `+15005550002` | `undelivered@…` | SENT, then UNDELIVERED: stays charged |
//! | `+15005550003` | `unknown@…` | UNKNOWN: no response, stays charged |
//! | `+15005550004` | `credit-limit@…` | TEST keys: refused with `CREDIT_LIMIT_REACHED` |
//! | `+15005550005` | `balance@…` | TEST keys: refused with `INSUFFICIENT_BALANCE` |
//!
//! For Telegram, the chat id is one of the phone numbers without `+`.

/// The outcome that a test recipient simulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestRecipient {
    Fail,
    Undelivered,
    Unknown,
    CreditLimit,
    Balance,
}

/// Returns the outcome that this recipient simulates; `None` for an ordinary recipient.
pub fn test_recipient(recipient: &str) -> Option<TestRecipient> {
    let name = match recipient.split_once('@') {
        Some((local_part, _)) => local_part,
        None => recipient.trim_start_matches('+'),
    };
    match name {
        "15005550001" | "fail" => Some(TestRecipient::Fail),
        "15005550002" | "undelivered" => Some(TestRecipient::Undelivered),
        "15005550003" | "unknown" => Some(TestRecipient::Unknown),
        "15005550004" | "credit-limit" => Some(TestRecipient::CreditLimit),
        "15005550005" | "balance" => Some(TestRecipient::Balance),
        _ => None,
    }
}
