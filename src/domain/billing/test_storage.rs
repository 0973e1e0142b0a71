//! How many TEST messages an account may store, in number and bytes.

use entity::account;

/// TEST messages that an account stores at most.
pub const TEST_MESSAGES_MAX: i64 = 20_000;

/// Bytes of words of these at most: 64 MiB.
pub const TEST_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// What an account stores of TEST messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestStored {
    pub messages: i64,
    pub bytes: i64,
}

impl TestStored {
    pub fn of(account: &account::Model) -> Self {
        Self { messages: account.test_message_count, bytes: account.test_message_bytes }
    }

    /// The same with one message of so many bytes more.
    #[must_use]
    pub fn with(self, bytes: i64) -> Self {
        Self { messages: self.messages + 1, bytes: self.bytes + bytes }
    }

    /// Whether one message of so many bytes can be stored besides.
    pub fn has_room_for(self, bytes: i64) -> bool {
        let more = self.with(bytes);
        more.messages <= TEST_MESSAGES_MAX && more.bytes <= TEST_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_stores_20_000_messages_and_64_mebibytes() {
        let messages = TestStored { messages: TEST_MESSAGES_MAX - 1, bytes: 0 };
        assert!(messages.has_room_for(0) && !messages.with(0).has_room_for(0));
        let bytes = TestStored { messages: 0, bytes: TEST_BYTES_MAX - 7 };
        assert!(bytes.has_room_for(7) && !bytes.has_room_for(8));
    }
}
