//! E-mail: addresses checked, messages built and handed to a mail server, or laid into the mailbox.

mod address;
mod compose;
mod mailbox;
mod template;

pub use address::{parse as parse_address, parse_all as parse_addresses};
pub use compose::{Attachment, Composed, Letter, compose};
pub use mailbox::{Mailbox, Stored};
pub use template::MessageTemplate;
