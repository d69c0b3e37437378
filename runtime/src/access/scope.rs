//! What a key may do.

use std::fmt;

/// One thing that a key may do. `Admin` includes all others, within the key's tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Scope {
    /// Send events.
    EventsWrite = 1,
    /// Read events, runs, dead letters; ask for replays needs `EventsWrite`.
    EventsRead = 2,
    /// Define triggers.
    TriggersWrite = 4,
    /// Upload components.
    ComponentsWrite = 8,
    /// Define resources and secrets.
    ResourcesWrite = 16,
    /// Everything in the tenant, its keys included.
    Admin = 32,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::EventsWrite,
        Self::EventsRead,
        Self::TriggersWrite,
        Self::ComponentsWrite,
        Self::ResourcesWrite,
        Self::Admin,
    ];

    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::EventsRead => "events:read",
            Self::TriggersWrite => "triggers:write",
            Self::ComponentsWrite => "components:write",
            Self::ResourcesWrite => "resources:write",
            Self::Admin => "admin",
        }
    }

    /// As the API reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything.
    pub const ALL: Self = Self(Scope::Admin as u8);

    /// Whether one of `wanted` is in it.
    #[must_use]
    pub fn has_any(self, wanted: &[Scope]) -> bool {
        self.0 & Scope::Admin as u8 != 0 || wanted.iter().any(|scope| self.0 & *scope as u8 != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_admin_has_everything() {
        let scopes: Scopes = [Scope::EventsRead, Scope::TriggersWrite].into_iter().collect();
        assert!(scopes.has_any(&[Scope::EventsRead]) && scopes.has_any(&[Scope::Admin, Scope::TriggersWrite]));
        assert!(!scopes.has_any(&[Scope::EventsWrite, Scope::Admin]) && !scopes.has_any(&[]));
        assert!(Scope::ALL.iter().all(|scope| Scopes::ALL.has_any(&[*scope])));
    }

    #[test]
    fn names_read_back() {
        assert!(Scope::ALL.iter().all(|scope| Scope::parse(scope.as_str()) == Some(*scope)));
        assert_eq!(Scope::parse("events:*"), None);
    }
}
