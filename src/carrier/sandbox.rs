//! The sandbox carrier. It accepts every message, delivers to nobody, and reports the message as delivered. Test
//! recipients simulate failures.

use async_trait::async_trait;
use entity::message;

use super::{
    Carrier, Report, SendError,
    test_recipients::{TestRecipient, test_recipient},
};

pub struct Sandbox;

#[async_trait]
impl Carrier for Sandbox {
    async fn send(&self, message: &message::Model) -> Result<(), SendError> {
        match test_recipient(&message.recipient) {
            Some(TestRecipient::Fail) => Err(SendError::Rejected {
                code: "SANDBOX_REJECTED".to_owned(),
                text: "The sandbox rejects this test recipient.".to_owned(),
            }),
            Some(TestRecipient::Unknown) => Err(SendError::Unknown {
                code: "SANDBOX_NO_ANSWER".to_owned(),
                text: "The sandbox does not respond for this test recipient.".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn report(&self, message: &message::Model) -> Report {
        match test_recipient(&message.recipient) {
            Some(TestRecipient::Undelivered) => Report::Undelivered {
                code: "SANDBOX_UNDELIVERED".to_owned(),
                text: "The sandbox does not deliver to this test recipient.".to_owned(),
            },
            _ => Report::Delivered,
        }
    }

    /// Returns true: the sandbox delivers to nobody, so it cannot deliver a message twice.
    fn may_repeat(&self) -> bool {
        true
    }
}
