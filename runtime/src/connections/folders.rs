//! Folders of this machine that storages keep objects in, all below one that the operator names.

use std::path::PathBuf;
use std::sync::Arc;

/// Where the folders are. Cheap to clone.
#[derive(Clone)]
pub struct Folders(Arc<PathBuf>);

impl Folders {
    /// All below `root`, which is made when it is needed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self(Arc::new(root))
    }

    /// The folder of all.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.0.to_path_buf()
    }

    /// Whether files can be written there. The path is the operator's and stays untold.
    pub async fn check(&self) -> Result<String, String> {
        let root = self.0.clone();
        let tried = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&*root)?;
            let probe = root.join(format!(".check-{:016x}", rand::random::<u64>()));
            std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe))
        });
        match tried.await {
            Ok(Ok(())) => Ok("a folder of this machine, which can be written".to_owned()),
            Ok(Err(error)) => Err(format!("the folder of all storages cannot be written: {}", error.kind())),
            Err(_) => Err("the folder could not be tried".to_owned()),
        }
    }
}
