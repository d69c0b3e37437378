//! What a block puts around its body: the item and its position.

use serde_json::Value;

use super::found::Found;
use super::reference::{Local, Step, walk};

/// One turn of an `each`, or a `with`.
pub(super) struct Frame<'f> {
    /// `this`
    pub item: &'f Value,
    /// `@key`, where the block goes over an object.
    pub key: Option<&'f str>,
    /// `@index`
    pub index: usize,
    /// `@last`
    pub last: bool,
    /// The block around this one.
    pub outer: Option<&'f Frame<'f>>,
}

impl<'f> Frame<'f> {
    /// The frame `up` levels further out.
    pub fn out(&'f self, up: usize) -> Option<&'f Self> {
        (0..up).try_fold(self, |frame, _| frame.outer)
    }

    /// What `what` is here, and `steps` below it. As in Handlebars, an array's key is its index.
    pub fn find(&self, what: Local, steps: &[Step]) -> Found<'f> {
        match what {
            Local::Item => walk(self.item, steps),
            Local::Key => self.key.map_or_else(|| Found::Made(self.index.into()), Found::Text),
            Local::Index => Found::Made(self.index.into()),
            Local::First => Found::Made((self.index == 0).into()),
            Local::Last => Found::Made(self.last.into()),
        }
    }
}
