//! How much text the rows hold that a request reads: it counts in the request's room.

use std::collections::HashMap;

use entity::{account, audit_entry, contact, message, template};
use uuid::Uuid;

use crate::domain::{message::list as message_list, page::Page, template::list as template_list};

/// A row that may have long texts.
pub trait Texts {
    /// Bytes of these texts.
    fn bytes(&self) -> usize;
}

impl Texts for message::Model {
    fn bytes(&self) -> usize {
        message_list::text_bytes(self)
    }
}

impl Texts for template::Model {
    fn bytes(&self) -> usize {
        template_list::bytes_of(self)
    }
}

impl Texts for contact::Model {
    fn bytes(&self) -> usize {
        self.search_text.len() + self.metadata.as_ref().map_or(0, String::len)
    }
}

impl Texts for account::Model {
    fn bytes(&self) -> usize {
        self.metadata.as_ref().map_or(0, String::len)
    }
}

impl Texts for audit_entry::Model {
    fn bytes(&self) -> usize {
        [&self.before, &self.after].into_iter().flatten().map(String::len).sum()
    }
}

/// The tags of a contact.
impl Texts for Vec<String> {
    fn bytes(&self) -> usize {
        self.iter().map(|tag| size_of::<String>() + tag.len()).sum()
    }
}

impl<T: Texts> Texts for HashMap<Uuid, T> {
    fn bytes(&self) -> usize {
        self.values().map(Texts::bytes).sum()
    }
}

impl<T: Texts> Texts for Page<T> {
    fn bytes(&self) -> usize {
        self.rows.iter().map(|(_, row)| row.bytes()).sum()
    }
}
