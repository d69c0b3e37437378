//! The tenants' storages by tag: objects in a bucket, in a folder of this machine, or in this process.

pub mod key;
mod memory;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload,
};
use parking_lot::Mutex;
use triggerd_core::id::TenantId;

use crate::connections::s3;
use crate::egress;
use crate::failed::Failed;
use crate::resources::{Resolved, Resources, Storage, StorageKind};
use memory::Memory;

/// Objects above this go up in parts of this size.
const PART: usize = 8 << 20;
/// The object's metadata that holds the delivery id.
const DELIVERY: &str = "triggerd-delivery-id";

/// Storages in this process, by tenant and tag: another size does not empty them.
type Memories = HashMap<(TenantId, String), Arc<Memory>>;

/// The storages of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Storages {
    resources: Arc<Resources>,
    /// Where folders are, one per tenant and tag.
    root: Arc<PathBuf>,
    memory: Arc<Mutex<Memories>>,
}

/// Which storage: whose, by what tag, for events of which environment.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The environment, which may have settings of its own; empty for none.
    pub env: &'a str,
    /// Its tag.
    pub tag: &'a str,
}

/// What is to be stored.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub content: Bytes,
    /// What it is.
    pub mime_type: String,
    /// The delivery that stores it.
    pub delivery_id: String,
}

/// What is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Names this content; another one means another content.
    pub etag: Option<String>,
    /// Bytes.
    pub size: u64,
}

/// A storage that was found, ready to be used.
struct Opened {
    store: Arc<dyn ObjectStore>,
    resolved: Arc<Resolved<Storage>>,
    /// Where its bytes are counted.
    memory: Option<Arc<Memory>>,
}

impl Storages {
    /// Those that `resources` configures; folders are below `root`.
    #[must_use]
    pub fn new(resources: Arc<Resources>, root: PathBuf) -> Self {
        Self { resources, root: Arc::new(root), memory: Arc::default() }
    }

    /// The address that calls of a storage go to; `None` where they stay on this machine.
    #[must_use]
    pub fn destination(&self, name: Name<'_>) -> Option<String> {
        let resolved = self.resources.resolve::<Storage>(name.tenant, "storages", name.tag, name.env)?.ok()?;
        resolved.settings.bucket().map(|bucket| bucket.origin())
    }

    /// Stores an object, in place of one of the same name.
    pub async fn upload(&self, name: Name<'_>, path: &str, object: Object) -> Result<Stored, Failed> {
        let opened = self.open(name)?;
        let path = opened.path("path", path)?;
        let size = object.content.len() as u64;
        let room = opened.memory.as_ref().map(|memory| memory.reserve(&path, size)).transpose();
        let room = room.map_err(|detail| refused(name.tag, &detail))?;
        let attributes = opened.attributes(&object);
        let put = if object.content.len() > PART {
            upload_in_parts(&*opened.store, &path, object.content, attributes).await
        } else {
            let options = PutOptions { attributes, ..PutOptions::default() };
            opened.store.put_opts(&path, PutPayload::from_bytes(object.content), options).await.map(|put| put.e_tag)
        };
        let etag = put.map_err(|error| failed(name.tag, &error))?;
        if let Some(room) = room {
            room.keep();
        }
        Ok(Stored { etag: etag.map(unquoted), size })
    }

    /// Deletes an object; one that is not there is as good as deleted.
    pub async fn delete(&self, name: Name<'_>, path: &str) -> Result<(), Failed> {
        let opened = self.open(name)?;
        let path = opened.path("path", path)?;
        match opened.store.delete(&path).await {
            Ok(()) => {}
            Err(error) if is_absent_object(&error) => {}
            Err(error) => return Err(failed(name.tag, &error)),
        }
        if let Some(memory) = &opened.memory {
            memory.forget(&path);
        }
        Ok(())
    }

    /// Copies an object within its storage, in place of one of the new name.
    pub async fn copy(&self, name: Name<'_>, from: &str, to: &str) -> Result<Stored, Failed> {
        let opened = self.open(name)?;
        let (from, to) = (opened.path("from", from)?, opened.path("to", to)?);
        let room = match &opened.memory {
            Some(memory) => {
                let size = opened.store.head(&from).await.map_err(|error| failed(name.tag, &error))?.size;
                Some(memory.reserve(&to, size).map_err(|detail| refused(name.tag, &detail))?)
            }
            None => None,
        };
        opened.store.copy(&from, &to).await.map_err(|error| failed(name.tag, &error))?;
        if let Some(room) = room {
            room.keep();
        }
        let copied = opened.store.head(&to).await.map_err(|error| failed(name.tag, &error))?;
        Ok(Stored { etag: copied.e_tag.map(unquoted), size: copied.size })
    }

    fn open(&self, name: Name<'_>) -> Result<Opened, Failed> {
        let resolved = self.resources.resolve::<Storage>(name.tenant, "storages", name.tag, name.env);
        let resolved = resolved.ok_or_else(|| Failed::no_resource("storages", name.tag))??;
        let settings = &resolved.settings;
        let (store, memory): (Arc<dyn ObjectStore>, _) = match settings.kind() {
            StorageKind::S3 => {
                let bucket = settings.bucket().ok_or_else(|| refused(name.tag, "it names no bucket"))?;
                let store = self.resources.connections().s3.open(&resolved.identity, &bucket);
                (store.map_err(|error| unmade(name.tag, &error))?, None)
            }
            StorageKind::Local => (Arc::new(self.folder(name)?), None),
            StorageKind::Memory => {
                let key = (name.tenant.clone(), name.tag.to_owned());
                let memory = self.memory.lock().entry(key).or_default().clone();
                memory.limit(settings.max_bytes());
                (memory.store(), Some(memory))
            }
        };
        Ok(Opened { store, resolved, memory })
    }

    /// The folder of a storage, made where it is missing. Tenants and tags hold no `/` and do not begin with a dot.
    fn folder(&self, name: Name<'_>) -> Result<LocalFileSystem, Failed> {
        let folder = self.root.join(name.tenant.as_str()).join(name.tag);
        let made = std::fs::create_dir_all(&folder)
            .map_err(|error| unavailable(name.tag, &format!("its folder cannot be made: {}", error.kind())))
            .map(|()| LocalFileSystem::new_with_prefix(&folder));
        Ok(made?.map_err(|error| failed(name.tag, &error))?.with_fsync(true))
    }
}

impl Opened {
    fn path(&self, field: &str, name: &str) -> Result<Path, Failed> {
        key::below(&self.resolved.settings.prefix, name)
            .map_err(|detail| Failed::permanent("CONFIG_INVALID", format!("/{field}: {detail}")))
    }

    /// What goes along with an object, where there is a place for it: a folder has none.
    fn attributes(&self, object: &Object) -> Attributes {
        if self.resolved.settings.kind() == StorageKind::Local {
            return Attributes::new();
        }
        Attributes::from_iter([
            (Attribute::ContentType, object.mime_type.clone()),
            (Attribute::Metadata(DELIVERY.into()), object.delivery_id.clone()),
        ])
    }
}

/// Takes back what was uploaded of an object, should its upload not end well: also where its future is dropped.
struct Parts(Option<Box<dyn MultipartUpload>>);

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match tokio::time::timeout(std::time::Duration::from_secs(10), upload.abort()).await {
                Ok(Ok(())) => {}
                _ => tracing::warn!("The parts of an upload that failed may still be in their bucket"),
            }
        });
    }
}

/// One part after the other; the entity tag.
async fn upload_in_parts(
    store: &dyn ObjectStore,
    path: &Path,
    content: Bytes,
    attributes: Attributes,
) -> Result<Option<String>, Error> {
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let mut parts = Parts(Some(store.put_multipart_opts(path, options).await?));
    for at in (0..content.len()).step_by(PART) {
        let Some(upload) = parts.0.as_mut() else { break };
        upload.put_part(PutPayload::from_bytes(content.slice(at..content.len().min(at + PART)))).await?;
    }
    let Some(upload) = parts.0.as_mut() else { return Ok(None) };
    let completed = upload.complete().await?;
    parts.0 = None;
    Ok(completed.e_tag)
}

fn unquoted(etag: String) -> String {
    etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_owned).unwrap_or(etag)
}

fn unmade(tag: &str, error: &s3::Error) -> Failed {
    match error {
        s3::Error::Egress(error) => of_egress(tag, error),
        s3::Error::Settings(detail) => refused(tag, detail),
    }
}

fn of_egress(tag: &str, error: &egress::Error) -> Failed {
    let failure = error.failure(&format!("storage `{tag}`"));
    Failed { failure, retryable: !error.is_permanent(), after: None }
}

/// What an error of a store means: by status, S3's own code and the kind of an I/O error, never by words.
fn failed(tag: &str, error: &Error) -> Failed {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(egress) = cause.downcast_ref::<egress::Error>() {
            return of_egress(tag, egress);
        }
        if let Some(answer) = cause.downcast_ref::<s3::Refusal>() {
            return of_answer(tag, answer);
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return of_io(tag, io);
        }
        source = cause.source();
    }
    match error {
        Error::NotFound { .. } => not_found(tag),
        Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            refused(tag, "it cannot keep an object of this name")
        }
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::PermissionDenied { .. } => {
            refused(tag, "it does not allow it")
        }
        _ => unavailable(tag, "it could not do it"),
    }
}

fn of_answer(tag: &str, answer: &s3::Refusal) -> Failed {
    match answer {
        answer if answer.is_transient() => unavailable(tag, &answer.to_string()),
        // S3 speaks of a missing bucket with the same status.
        answer if answer.status == 404 && answer.code.as_deref() != Some("NoSuchBucket") => not_found(tag),
        answer => refused(tag, &answer.to_string()),
    }
}

fn of_io(tag: &str, error: &std::io::Error) -> Failed {
    match error.kind() {
        ErrorKind::NotFound => not_found(tag),
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput
        | ErrorKind::PermissionDenied => refused(tag, &error.kind().to_string()),
        kind => unavailable(tag, &kind.to_string()),
    }
}

/// Of a deletion: the object is not there, which another storage than S3 says. A bucket that is not there is no
/// object.
fn is_absent_object(error: &Error) -> bool {
    failed("", error).failure.code == "STORAGE_NOT_FOUND"
}

fn not_found(tag: &str) -> Failed {
    Failed::permanent("STORAGE_NOT_FOUND", format!("storage `{tag}` has no object of this name"))
}

fn refused(tag: &str, detail: &str) -> Failed {
    Failed::permanent("STORAGE_REFUSED", format!("storage `{tag}`: {detail}"))
}

fn unavailable(tag: &str, detail: &str) -> Failed {
    Failed::transient("STORAGE_UNAVAILABLE", format!("storage `{tag}`: {detail}"))
}
