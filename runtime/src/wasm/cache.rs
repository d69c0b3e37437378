//! Compiled code on disk, authenticated: loading it is trusting it, so nothing is loaded that this host did not write.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const MAC_BYTES: usize = 32;
/// The oldest files go when all of them together are larger.
const MAX_TOTAL_BYTES: u64 = 2 << 30;

/// A folder of compiled components.
pub(super) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
    /// What else decides whether code fits: the engine's version, settings and target.
    engine: [u8; 32],
}

impl CodeCache {
    /// Opens the folder, with nobody else let in.
    pub(super) fn open(dir: &Path, key: [u8; 32], engine: &Engine) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir)?;
        #[cfg(unix)]
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self { dir: dir.to_owned(), key, engine: fingerprint(engine) })
    }

    /// The compiled code of a component, if it is there and ours. What is damaged or forged is removed.
    pub(super) fn load(&self, engine: &Engine, component: &[u8; 32]) -> Option<Component> {
        let path = self.path(component);
        let file = fs::read(&path).ok()?;
        let loaded = self.verified(&file, component).and_then(|code| {
            // SAFETY: `deserialize` runs whatever native code the bytes hold, so they must be the unchanged output of
            // `precompile_component`. They are: the MAC, whose key only this host has, covers them and was just verified
            // over the very buffer that is passed on, and it binds them to this component, engine version, settings and target.
            unsafe { Component::deserialize(engine, code) }.ok()
        });
        if loaded.is_none() {
            tracing::warn!(path = %path.display(), "Compiled code on disk is damaged or not ours; it is compiled anew");
            let _ = fs::remove_file(&path);
        }
        loaded
    }

    /// Keeps compiled code. The caller goes on without if it fails.
    pub(super) fn store(&self, component: &[u8; 32], code: &[u8]) -> io::Result<()> {
        let path = self.path(component);
        let unfinished = self.dir.join(format!(".{}.{}", hex::encode(component), uuid::Uuid::now_v7()));
        let written = self.write(&unfinished, component, code).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        self.prune(&path)
    }

    fn write(&self, path: &Path, component: &[u8; 32], code: &[u8]) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(&self.mac(component, code).finalize().into_bytes())?;
        file.write_all(code)
    }

    fn verified<'a>(&self, file: &'a [u8], component: &[u8; 32]) -> Option<&'a [u8]> {
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        // Compares in constant time.
        self.mac(component, code).verify_slice(mac).ok().map(|()| code)
    }

    fn mac(&self, component: &[u8; 32], code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        // All parts before the code have a fixed length, so no two inputs run into each other.
        mac.update(b"triggerd compiled code 1");
        mac.update(component);
        mac.update(&self.engine);
        mac.update(code);
        mac
    }

    fn path(&self, component: &[u8; 32]) -> PathBuf {
        self.dir.join(format!("{}-{}.cwasm", hex::encode(component), hex::encode(&self.engine[..8])))
    }

    fn prune(&self, newest: &Path) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() && entry.path() != newest {
                files.push((about.modified()?, about.len(), entry.path()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= MAX_TOTAL_BYTES {
                break;
            }
            total -= bytes;
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The engine's version, settings and target, as far as they decide which code fits.
fn fingerprint(engine: &Engine) -> [u8; 32] {
    struct Sink(Sha256);
    impl Hasher for Sink {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sink = Sink(Sha256::new());
    // Wasmtime hashes its own version, the target and every setting that code depends on.
    engine.precompile_compatibility_hash().hash(&mut sink);
    sink.0.update(std::env::consts::ARCH);
    sink.0.update(std::env::consts::OS);
    sink.0.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const COMPONENT: &str = r#"(component (core module $m (func (export "f") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m)) (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;

    struct Kept {
        dir: tempfile::TempDir,
        engine: Engine,
        digest: [u8; 32],
    }

    impl Kept {
        fn cache(&self, key: u8) -> CodeCache {
            CodeCache::open(self.dir.path(), [key; 32], &self.engine).unwrap()
        }

        fn file(&self) -> PathBuf {
            self.cache(1).path(&self.digest)
        }
    }

    fn kept() -> Kept {
        let engine = super::super::engine::engine(1, 1 << 20).unwrap();
        let bytes = wat::parse_str(COMPONENT).unwrap();
        let digest = Sha256::digest(&bytes).into();
        let kept = Kept { dir: tempfile::tempdir().unwrap(), engine, digest };
        let code = kept.engine.precompile_component(&bytes).unwrap();
        kept.cache(1).store(&digest, &code).unwrap();
        kept
    }

    #[test]
    fn what_was_kept_is_loaded_over_a_restart() {
        let kept = kept();
        assert!(kept.cache(1).load(&kept.engine, &kept.digest).is_some());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused_and_the_file_removed() {
        let kept = kept();
        let (cache, path) = (kept.cache(1), kept.file());
        let whole = fs::read(&path).unwrap();
        for place in (0..whole.len()).step_by(whole.len() / 500) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            fs::write(&path, flipped).unwrap();
            assert!(cache.load(&kept.engine, &kept.digest).is_none(), "byte {place}");
            assert!(!path.exists());
        }
        for cut in [0, 31, 32, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(cache.load(&kept.engine, &kept.digest).is_none(), "cut to {cut}");
        }
    }

    #[test]
    fn code_of_another_key_component_or_engine_is_refused() {
        let kept = kept();
        let whole = fs::read(kept.file()).unwrap();
        assert!(kept.cache(2).load(&kept.engine, &kept.digest).is_none());
        let cache = kept.cache(1);
        let other = [9; 32];
        fs::write(cache.path(&other), &whole).unwrap();
        assert!(cache.load(&kept.engine, &other).is_none());
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(false);
        let engine = Engine::new(&config).unwrap();
        let foreign = CodeCache::open(kept.dir.path(), [1; 32], &engine).unwrap();
        fs::write(foreign.path(&kept.digest), &whole).unwrap();
        assert!(foreign.load(&engine, &kept.digest).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_the_folder_or_its_files() {
        use std::os::unix::fs::PermissionsExt;
        let kept = kept();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(kept.dir.path()), mode(&kept.file())), (0o700, 0o600));
    }
}
