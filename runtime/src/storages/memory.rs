//! A storage in this process: for development and tests, gone with the process, bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use parking_lot::Mutex;

/// One storage.
#[derive(Debug, Default)]
pub(super) struct Memory {
    store: Arc<InMemory>,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    max_bytes: u64,
    total: u64,
    sizes: HashMap<Path, u64>,
}

/// Room for an object that is on its way. Dropping it gives the room back, unless it is kept.
pub(super) struct Room {
    memory: Arc<Memory>,
    path: Path,
    before: Option<u64>,
    kept: bool,
}

impl Memory {
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    pub fn limit(&self, max_bytes: u64) {
        self.counted.lock().max_bytes = max_bytes;
    }

    /// Counts an object in, in place of one of the same name.
    pub fn reserve(self: &Arc<Self>, path: &Path, size: u64) -> Result<Room, String> {
        let mut counted = self.counted.lock();
        let before = counted.sizes.get(path).copied();
        let total = counted.total - before.unwrap_or(0) + size;
        if total > counted.max_bytes {
            return Err(format!("it is full: it keeps at most {} bytes (`maxBytes`)", counted.max_bytes));
        }
        counted.total = total;
        counted.sizes.insert(path.clone(), size);
        Ok(Room { memory: self.clone(), path: path.clone(), before, kept: false })
    }

    pub fn forget(&self, path: &Path) {
        self.set(path, None);
    }

    fn set(&self, path: &Path, size: Option<u64>) {
        let mut counted = self.counted.lock();
        let before = match size {
            Some(size) => counted.sizes.insert(path.clone(), size),
            None => counted.sizes.remove(path),
        };
        counted.total = counted.total.saturating_sub(before.unwrap_or(0)) + size.unwrap_or(0);
    }
}

impl Room {
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.kept {
            self.memory.set(&self.path, self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_once_per_name_and_given_back() {
        let memory = Arc::new(Memory::default());
        memory.limit(10);
        let (a, b) = (Path::from("a"), Path::from("b"));
        memory.reserve(&a, 6).unwrap().keep();
        assert!(memory.reserve(&b, 5).is_err());
        memory.reserve(&a, 10).unwrap().keep();
        drop(memory.reserve(&a, 1).unwrap());
        assert!(memory.reserve(&b, 1).is_err(), "what was not kept counts as before");
        memory.forget(&a);
        memory.reserve(&b, 10).unwrap().keep();
    }
}
