//! What an upload is, before a single instruction of it is compiled: a component of a known world with imports we have, or a reason.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::imports::INTERFACES;

/// The largest upload.
pub const MAX_UPLOAD_BYTES: usize = 64 << 20;
/// The largest single function: Cranelift's time grows faster than the function.
const MAX_FUNCTION_BYTES: usize = 2 << 20;
/// Functions of all modules together.
const MAX_FUNCTIONS: u64 = 300_000;
/// Components and modules inside each other.
const MAX_NESTING: usize = 16;
/// Modules and components in one upload.
const MAX_PARTS: usize = 500;
/// Imports of the component, and its exports.
const MAX_NAMES: usize = 1_000;

/// Why a component was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub code: RefusalCode,
    /// For the person who uploaded: what is wrong and what to do.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusalCode {
    /// The bytes are no WebAssembly, or damaged.
    NotWasm,
    /// More bytes than are taken at all.
    TooLarge,
    /// It exports nothing that a trigger could call.
    NoWorld,
    /// It imports something that does not exist here.
    UnknownImport,
    /// It is WebAssembly, but not of a kind that runs here.
    Invalid,
    /// It took too long to compile, or is sure to.
    CompileBudget,
    /// Others are being compiled; another try may help.
    Busy,
    /// The host failed, not the component; another try may help.
    Internal,
}

impl RefusalCode {
    /// The stable code of docs/errors.md.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotWasm => "WASM_NOT_WASM",
            Self::TooLarge => "WASM_TOO_LARGE",
            Self::NoWorld => "WASM_NO_WORLD",
            Self::UnknownImport => "WASM_UNKNOWN_IMPORT",
            Self::Invalid => "WASM_INVALID",
            Self::CompileBudget => "WASM_COMPILE_BUDGET",
            Self::Busy => "WASM_BUSY",
            Self::Internal => "WASM_INTERNAL",
        }
    }
}

impl Refusal {
    pub(super) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: super::logs::shown(&message.into()) }
    }
}

/// What an upload turned out to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inspected {
    /// `sha256:` and the digest of the uploaded bytes.
    pub digest: String,
    /// The worlds whose function it exports: `action`, `guard`, `condition`, `transform`.
    pub worlds: Vec<String>,
    /// Names of its imports, in order.
    pub imports: Vec<String>,
    /// Names of its exports, in order.
    pub exports: Vec<String>,
    /// Bytes uploaded.
    pub size: usize,
    /// The component: the upload itself, or what was made of an uploaded core module.
    #[serde(skip)]
    pub component_bytes: Vec<u8>,
}

/// The worlds and the interface that each exports.
pub(super) const WORLDS: [(&str, &str); 4] =
    [("action", "run"), ("guard", "check"), ("condition", "matches"), ("transform", "rewrite")];

/// `sha256:` and the hexadecimal digest.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Looks at an upload. Takes time in proportion to its size; compiles nothing.
pub(super) fn inspect(upload: Vec<u8>, wasi_http: bool) -> Result<Inspected, Refusal> {
    if upload.len() > MAX_UPLOAD_BYTES {
        let message = format!("{} bytes; a component may have {MAX_UPLOAD_BYTES}", upload.len());
        return Err(Refusal::new(RefusalCode::TooLarge, message));
    }
    let (size, digest) = (upload.len(), digest(&upload));
    let component_bytes = as_component(upload)?;
    let names = survey(&component_bytes)?;
    check_imports(&names.imports, wasi_http)?;
    let worlds = worlds_of(&names.exports);
    if worlds.is_empty() {
        return Err(no_world(&names.exports));
    }
    Ok(Inspected { digest, worlds, imports: names.imports, exports: names.exports, size, component_bytes })
}

/// The component in an upload: itself, or what its embedded component type makes of a core module.
fn as_component(upload: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    if Parser::is_component(&upload) {
        return Ok(upload);
    }
    if !Parser::is_core_wasm(&upload) {
        let message = "these bytes are no WebAssembly: upload the .wasm file that the build made";
        return Err(Refusal::new(RefusalCode::NotWasm, message));
    }
    let old_wasi = survey(&upload)?.imports.into_iter().find(|module| module.starts_with("wasi_"));
    if let Some(module) = old_wasi {
        let message = format!(
            "a core module that imports `{module}` (WASI 0.1): build for wasm32-wasip2, or make it a component with \
             `wasm-tools component new --adapt`"
        );
        return Err(Refusal::new(RefusalCode::UnknownImport, message));
    }
    ComponentEncoder::default().module(&upload).and_then(|encoder| encoder.validate(true).encode()).map_err(|error| {
        let message = format!("a core module that cannot be made a component: {error:#}");
        Refusal::new(RefusalCode::Invalid, message)
    })
}

/// The outermost names of a component, or the modules that a core module imports from.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Reads the whole structure, so that damage anywhere is found, and refuses what would be a burden to compile.
fn survey(bytes: &[u8]) -> Result<Names, Refusal> {
    let damaged = |error: wasmparser::BinaryReaderError| {
        Refusal::new(RefusalCode::NotWasm, format!("damaged WebAssembly: {error}"))
    };
    let burden = |what: String| Refusal::new(RefusalCode::CompileBudget, what);
    let mut names = Names::default();
    let (mut depth, mut parts, mut functions) = (0_usize, 0_usize, 0_u64);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(damaged)? {
            Payload::Version { .. } => {
                (depth, parts) = (depth + 1, parts + 1);
                if depth > MAX_NESTING || parts > MAX_PARTS {
                    return Err(burden("more modules and components inside each other than are compiled".to_owned()));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions += u64::from(count);
                if functions > MAX_FUNCTIONS {
                    return Err(burden(format!("{functions} functions; at most {MAX_FUNCTIONS} are compiled")));
                }
            }
            Payload::CodeSectionEntry(body) if body.as_bytes().len() > MAX_FUNCTION_BYTES => {
                let size = body.as_bytes().len();
                return Err(burden(format!("a function of {size} bytes; at most {MAX_FUNCTION_BYTES} are compiled")));
            }
            Payload::ImportSection(section) if depth == 1 => {
                for import in section.into_imports() {
                    names.imports.push(import.map_err(damaged)?.module.to_owned());
                }
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    names.imports.push(import.map_err(damaged)?.name.full_name().into_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.exports.push(export.map_err(damaged)?.name.full_name().into_owned());
                }
            }
            _ => {}
        }
        if names.exports.len() > MAX_NAMES || names.imports.len() > MAX_NAMES * 10 {
            return Err(burden(format!("more than {MAX_NAMES} imports or exports")));
        }
    }
    Ok(names)
}

fn check_imports(imports: &[String], wasi_http: bool) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(RefusalCode::UnknownImport, message));
    for import in imports {
        match Interface::of(import) {
            Some(Interface { package: "triggerd:runtime", name, version })
                if version.starts_with("0.1.") && INTERFACES.contains(&name) => {}
            Some(Interface { package: "wasi:http", .. }) if !wasi_http => {
                return refuse(format!(
                    "it imports `{import}`, which is switched off here: use `triggerd:runtime/http`, or build without \
                     HTTP, or have the operator switch wasi:http on"
                ));
            }
            Some(Interface { package, version, .. }) if package.starts_with("wasi:") && version.starts_with("0.2.") => {
            }
            _ => {
                return refuse(format!(
                    "it imports `{import}`, which does not exist here: imports are those of `triggerd:runtime@0.1` and of WASI 0.2"
                ));
            }
        }
    }
    Ok(())
}

/// `PACKAGE/NAME@VERSION`.
struct Interface<'a> {
    package: &'a str,
    name: &'a str,
    version: &'a str,
}

impl<'a> Interface<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (path, version) = text.split_once('@')?;
        let (package, name) = path.split_once('/')?;
        Some(Self { package, name, version })
    }
}

fn worlds_of(exports: &[String]) -> Vec<String> {
    let exported = |interface: &str| {
        exports.iter().filter_map(|export| Interface::of(export)).any(|found| {
            found.package == "triggerd:runtime" && found.name == interface && found.version.starts_with("0.1.")
        })
    };
    WORLDS.iter().filter(|(_, interface)| exported(interface)).map(|(world, _)| (*world).to_owned()).collect()
}

fn no_world(exports: &[String]) -> Refusal {
    let wanted: Vec<String> =
        WORLDS.iter().map(|(world, interface)| format!("`triggerd:runtime/{interface}@0.1.0` ({world})")).collect();
    let found = match exports {
        [] => "nothing".to_owned(),
        some => some.iter().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let message = format!("it exports {found}; a component exports at least one of {}", wanted.join(", "));
    Refusal::new(RefusalCode::NoWorld, message)
}
