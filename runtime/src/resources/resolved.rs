//! Settings as actions use them: unsealed, of the event's environment, with secrets filled in.
//!
//! Every attempt asks for them, so they are kept until any resource changes: secrets are resources too.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use triggerd_core::id::TenantId;

use super::{Identity, Key};
use crate::store::StoredResource;

/// Environments come with events, so that anybody can name as many as he likes.
const MAX_KEPT: usize = 8192;

/// A resource's settings as an action uses them.
#[derive(Debug)]
pub struct Resolved<T> {
    /// The settings of the event's environment, with secrets filled in.
    pub settings: T,
    /// Names the settings with all that was filled in: another one means that connections are made anew.
    pub identity: Identity,
}

type Resources = Arc<BTreeMap<Key, Arc<StoredResource>>>;
/// Tenant, kind, tag and environment.
type Place = (TenantId, &'static str, String, String);

/// What was resolved since resources last changed.
#[derive(Default)]
pub(super) struct Kept(RwLock<State>);

#[derive(Default)]
struct State {
    /// What `by_place` was made from.
    of: Resources,
    by_place: HashMap<Place, Arc<dyn Any + Send + Sync>>,
}

impl Kept {
    /// What was resolved from these very resources.
    pub(super) fn get<T: Send + Sync + 'static>(&self, of: &Resources, place: &Place) -> Option<Arc<Resolved<T>>> {
        let state = self.0.read();
        if !Arc::ptr_eq(&state.of, of) {
            return None;
        }
        state.by_place.get(place)?.clone().downcast().ok()
    }

    /// Keeps what was resolved from these resources; forgets what was resolved from others.
    pub(super) fn put<T: Send + Sync + 'static>(&self, of: &Resources, place: Place, resolved: Arc<Resolved<T>>) {
        let mut state = self.0.write();
        if !Arc::ptr_eq(&state.of, of) || state.by_place.len() >= MAX_KEPT {
            state.by_place.clear();
            state.of = of.clone();
        }
        state.by_place.insert(place, resolved);
    }
}
