//! Limits on the TEST messages that an account stores, in number and bytes.

use entity::account;

/// Maximum number of TEST messages that an account stores.
pub const TEST_MESSAGES_MAX: i64 = 20_000;

/// Maximum number of bytes of content in the TEST messages that an account stores: 64 MiB.
pub const TEST_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// The TEST messages that an account stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestStored {
    pub messages: i64,
    pub bytes: i64,
}

impl TestStored {
    pub fn of(account: &account::Model) -> Self {
        Self { messages: account.test_message_count, bytes: account.test_message_bytes }
    }

    /// Returns the storage after a message of this many bytes was added.
    #[must_use]
    pub fn with(self, bytes: i64) -> Self {
        Self { messages: self.messages + 1, bytes: self.bytes + bytes }
    }

    /// Returns whether another message of this many bytes can be stored.
    pub fn can_add(self, bytes: i64) -> bool {
        let after = self.with(bytes);
        after.messages <= TEST_MESSAGES_MAX && after.bytes <= TEST_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_can_store_20_000_messages_and_64_mebibytes() {
        let messages = TestStored { messages: TEST_MESSAGES_MAX - 1, bytes: 0 };
        assert!(messages.can_add(0) && !messages.with(0).can_add(0));
        let bytes = TestStored { messages: 0, bytes: TEST_BYTES_MAX - 7 };
        assert!(bytes.can_add(7) && !bytes.can_add(8));
    }
}
