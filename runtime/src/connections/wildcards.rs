//! Names that are parts between separators, and patterns of them: a wildcard for one part, and one for all that follow.

/// How a system writes them.
pub struct Wildcards {
    /// Between parts.
    pub separator: char,
    /// It stands for one part.
    pub one: &'static str,
    /// It stands for all parts that follow, and stands last.
    pub rest: &'static str,
    /// Whether that may be none.
    pub rest_may_be_none: bool,
}

impl Wildcards {
    /// The first part of a name that has a wildcard in it.
    #[must_use]
    pub fn in_name<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.split(self.separator).find(|part| self.has_one(part))
    }

    /// The first part of a pattern whose wildcard does not stand alone, or not last where it has to.
    #[must_use]
    pub fn misplaced<'p>(&self, pattern: &'p str) -> Option<&'p str> {
        let mut parts = pattern.split(self.separator).peekable();
        while let Some(part) = parts.next() {
            let fits = if part == self.rest { parts.peek().is_none() } else { part == self.one || !self.has_one(part) };
            if !fits {
                return Some(part);
            }
        }
        None
    }

    /// Whether the pattern takes the name.
    #[must_use]
    pub fn fit(&self, pattern: &str, name: &str) -> bool {
        let mut left = name.split(self.separator);
        for part in pattern.split(self.separator) {
            let found = left.next();
            if part == self.rest {
                return found.is_some() || self.rest_may_be_none;
            }
            if found.is_none_or(|found| part != self.one && part != found) {
                return false;
            }
        }
        left.next().is_none()
    }

    fn has_one(&self, part: &str) -> bool {
        part.contains(self.one) || part.contains(self.rest)
    }
}
