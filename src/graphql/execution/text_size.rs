//! Measures the text in the rows that a request reads. The size of the text is counted against the
//! memory reservation of the request.

use std::collections::HashMap;

use entity::{account, audit_entry, contact, message, template};
use uuid::Uuid;

use crate::domain::{message::list as message_list, page::Page, template::list as template_list};

/// A row that can have long text.
pub trait TextBytes {
    /// Returns the number of bytes of the row's text.
    fn bytes(&self) -> usize;
}

impl TextBytes for message::Model {
    fn bytes(&self) -> usize {
        message_list::text_bytes(self)
    }
}

impl TextBytes for template::Model {
    fn bytes(&self) -> usize {
        template_list::bytes_of(self)
    }
}

impl TextBytes for contact::Model {
    fn bytes(&self) -> usize {
        self.search_text.len() + self.metadata.as_ref().map_or(0, String::len)
    }
}

impl TextBytes for account::Model {
    fn bytes(&self) -> usize {
        self.metadata.as_ref().map_or(0, String::len)
    }
}

impl TextBytes for audit_entry::Model {
    fn bytes(&self) -> usize {
        [&self.before, &self.after].into_iter().flatten().map(String::len).sum()
    }
}

/// The tags of a contact.
impl TextBytes for Vec<String> {
    fn bytes(&self) -> usize {
        self.iter().map(|tag| size_of::<String>() + tag.len()).sum()
    }
}

impl<T: TextBytes> TextBytes for HashMap<Uuid, T> {
    fn bytes(&self) -> usize {
        self.values().map(TextBytes::bytes).sum()
    }
}

impl<T: TextBytes> TextBytes for Page<T> {
    fn bytes(&self) -> usize {
        self.rows.iter().map(|(_, row)| row.bytes()).sum()
    }
}
